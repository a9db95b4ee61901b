"""The server config: what is read from where, and every error at once with its place."""

from pathlib import Path

import pytest

from extauthz.settings import Settings, SettingsError, load_settings
from tests.approvers import PUBLIC


def errors(text: str = "", environ: dict[str, str] | None = None, flags: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(SettingsError) as error:
        load(text, environ, flags)
    return [line.replace(str(FILE), "extauthz.yaml") for line in error.value.lines]


FILE = Path()


@pytest.fixture(autouse=True)
def _file(tmp_path: Path) -> None:
    global FILE  # noqa: PLW0603 - the helpers need no argument for it
    FILE = tmp_path / "extauthz.yaml"


def load(text: str = "", environ: dict[str, str] | None = None, flags: tuple[str, ...] = ()) -> Settings:
    FILE.write_text(text)
    return load_settings(FILE, environ or {}, flags)


def test_without_a_file_the_defaults_hold_and_listen_on_loopback_only() -> None:
    settings = load_settings(None, {}, ())
    assert Settings() == settings
    assert ("127.0.0.1:9000", "127.0.0.1:9001") == (settings.listen.address, settings.admin.address)


def test_an_empty_file_is_the_defaults() -> None:
    assert Settings() == load("# nothing yet\n")


def test_a_file_sets_what_it_names() -> None:
    settings = load("listen: {address: 'unix:/run/x.sock'}\ntransport: {drainDelaySeconds: 3, threads: 2}\n")
    assert "unix:/run/x.sock" == settings.listen.address
    assert (3, 2) == (settings.transport.drain_delay_seconds, settings.transport.threads)


def test_flags_win_over_environment_and_environment_over_file() -> None:
    text = "journal: {directory: file}\ntransport: {threads: 2}\nbundle: {directory: file}\n"
    environ = {"EXTAUTHZ_JOURNAL__DIRECTORY": "environment", "EXTAUTHZ_TRANSPORT__THREADS": "3"}
    settings = load(text, environ, ("transport.threads=5",))
    assert ("environment", 5, "file") == (
        settings.journal.directory,
        settings.transport.threads,
        settings.bundle.directory,
    )


def test_nested_keys_and_camel_case_have_their_variables() -> None:
    environ = {
        "EXTAUTHZ_LISTEN__TLS__CERTIFICATE": "c.pem",
        "EXTAUTHZ_LISTEN__TLS__KEY": "k.pem",
        "EXTAUTHZ_LISTEN__TLS__CLIENT_CA": "ca.pem",
        "EXTAUTHZ_TRANSPORT__MAX_CONNECTION_AGE_SECONDS": "90",
        "EXTAUTHZ_ADMIN__HOST_NAMES": "[admin.example]",
        "EXTAUTHZ_BUNDLE__DIRECTORY": "007",
        "HOME": "/x",
    }
    settings = load("", environ)
    assert settings.listen.tls
    assert ("c.pem", "k.pem", "ca.pem") == (
        settings.listen.tls.certificate,
        settings.listen.tls.key,
        settings.listen.tls.client_ca,
    )
    assert 90 == settings.transport.max_connection_age_seconds
    assert ("admin.example",) == settings.admin.host_names
    assert "007" == settings.bundle.directory


def test_what_kubernetes_injects_for_a_service_named_extauthz_is_no_setting() -> None:
    environ = {
        "EXTAUTHZ_SERVICE_HOST": "10.0.0.1",
        "EXTAUTHZ_SERVICE_PORT_GRPC_AUTHZ": "9000",
        "EXTAUTHZ_PORT": "tcp://10.0.0.1:9000",
        "EXTAUTHZ_PORT_9000_TCP_ADDR": "10.0.0.1",
        "EXTAUTHZ_ADMIN_PORT_9001_TCP": "tcp://10.0.0.1:9001",
        "EXTAUTHZ_CONFIG": "extauthz.yaml",
    }
    assert Settings() == load("", environ)


def test_the_digest_names_the_settings_in_force_wherever_they_came_from() -> None:
    in_file = load("transport: {threads: 2}\n")
    assert in_file.digest == load("", {"EXTAUTHZ_TRANSPORT__THREADS": "2"}).digest
    assert in_file.digest == load("", {}, ("transport.threads=2",)).digest
    assert in_file.digest != load("").digest
    assert 64 == len(in_file.digest)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "lisen: {}\n",
            [
                "extauthz.yaml:1: lisen: unknown field `lisen`, did you mean `listen`?",
            ],
        ),
        (
            "listen:\n  adress: 127.0.0.1:1\n",
            ["extauthz.yaml:2: listen.adress: unknown field `adress`, did you mean `address`?"],
        ),
        (
            "listen:\n  address: localhost:9000\n",
            ["extauthz.yaml:1: listen: `localhost:9000`: an address must be `IP:port`, `[IPv6]:port` or `unix:/path`"],
        ),
        (
            "transport:\n  threads: 0\n  maxConcurrent: many\n",
            [
                "extauthz.yaml:2: transport.threads: must be at least 1 and at most 64, found the number `0`",
                "extauthz.yaml:3: transport.maxConcurrent: expected a whole number, found the text `many`",
            ],
        ),
        ("- listen\n", ["extauthz.yaml:1: must be a mapping of sections"]),
        ("a: 1\n---\nb: 1\n", ["extauthz.yaml:3: a second document: the server config is one document"]),
        ("listen: {\n", ["extauthz.yaml:"]),
        ("listen: {}\nlisten: {}\n", ["extauthz.yaml:2: key `listen` is already set in line 1: remove one"]),
        (
            "listen: {tls: {certificate: c}}\n",
            ["extauthz.yaml:1: listen.tls.key: missing: expected text"],
        ),
    ],
)
def test_an_error_names_file_line_and_field_and_says_what_would_be_right(text: str, lines: list[str]) -> None:
    found = errors(text)
    assert len(lines) == len(found)
    assert all(message.startswith(line) for message, line in zip(found, lines, strict=True)), found


def test_errors_in_variables_and_flags_name_them() -> None:
    environ = {"EXTAUTHZ_TRANSPORT__THREADS": "none", "EXTAUTHZ_LISTEN": "{"}
    found = errors("", environ, ("admin.maxConnections=0", "journal.directory", "admin.adress=x", "listen.address.x=1"))
    assert found[0].startswith("environment variable `EXTAUTHZ_LISTEN`: not valid YAML")
    assert [
        "flag `--set journal.directory`: must be `section.key=value`",
        "flag `--set admin.adress`: unknown key, did you mean `admin.address`?",
        "flag `--set listen.address.x`: unknown key",
    ] == found[1:4]
    assert {
        "environment variable `EXTAUTHZ_TRANSPORT__THREADS`: transport.threads: expected a whole number, found the text `none`",
        "flag `--set admin.maxConnections`: admin.maxConnections: must be at least 1 and at most 256, found the number `0`",
    } == set(found[4:])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("EXTAUTHZ_LISTEN__ADRESS", "unknown variable, did you mean `EXTAUTHZ_LISTEN__ADDRESS`?"),
        ("EXTAUTHZ_LISTENN__ADDRESS", "unknown variable"),
        ("EXTAUTHZ_TOKEN", "unknown variable"),
        ("EXTAUTHZ_", "unknown variable"),
        ("EXTAUTHZ_LISTEN__TLS__KEY__X", "unknown variable"),
    ],
)
def test_an_unknown_variable_with_our_prefix_is_an_error(name: str, message: str) -> None:
    found = errors("", {name: "x"})
    assert found[0].startswith(f"environment variable `{name}`: {message}")


def test_all_errors_come_at_once() -> None:
    found = errors("lisen: {}\nadmin: {port: 1}\n", {"EXTAUTHZ_X": ""}, ("y=1",))
    assert 4 == len(found)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        load_settings(tmp_path / "none.yaml", {}, ())
    assert (f"{tmp_path / 'none.yaml'}: cannot be read: no such file or directory",) == error.value.lines


def test_approvers_of_break_glass_are_two_people_with_a_key_each() -> None:
    key = PUBLIC["ciso"]
    settings = load(
        f"emergencies: {{approvers: [{{name: ciso, key: {key}}}, {{name: duty, key: {PUBLIC['stranger']}}}]}}\n"
    )
    assert ({"ciso": key, "duty": PUBLIC["stranger"]}, 2) == (
        settings.emergencies.keys,
        len(settings.emergencies.key_ids),
    )
    (line,) = errors("emergencies:\n  approvers:\n  - {name: ciso, key: abc}\n")
    assert (
        "extauthz.yaml:1: emergencies: approvers[0].key: holds no public key in PEM: Ed25519 or ECDSA with P-256"
        == line
    )
    (line,) = errors(f"emergencies: {{approvers: [{{name: a, key: {key}}}, {{name: b, key: {key}}}]}}\n")
    assert "approvers[1].key: this is the key of `a`: each approver has an own one" in line
