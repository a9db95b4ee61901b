"""`extauthz ctl freeze`, `break-glass`, `emergencies` and `end`, as operators type them, against a whole server."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from msgspec import yaml

from extauthz.cli.audit import command as audit
from tests.approvers import PUBLIC, pem
from tests.unit.bundle.emergency_documents import around_now, freeze, glass, signed
from tests.unit.cli.emergency_server import ACCOUNT, ROUTE, WHO, Running


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    found = Running(tmp_path)
    yield found
    found.stop()


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """For orders that change nothing."""
    found = Running(tmp_path_factory.mktemp("untouched"))
    yield found
    found.stop()


def until(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + 10
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


# --- freezes


@pytest.mark.parametrize(
    "arguments",
    [
        ("--token-id", "jti-1"),
        ("--subject", "u1", "--issuer", "bank"),
        ("--client", "app"),
        ("--tenant", "acme"),
        ("--route", "GET api.bank.test/api/acme/**"),
        ("--route", "*/api/*/accounts/*"),
        ("--everything",),
    ],
)
def test_a_freeze_is_in_force_with_the_next_request_and_until_it_is_ended(
    running: Running, arguments: tuple[str, ...]
) -> None:
    token = running.token()
    assert running.ask(ACCOUNT, token=token).allowed
    said = running.ctl("freeze", *arguments, "--until", "1h", *WHO)
    assert 0 == said.exit_code, said.output
    name = said.stdout.split()[1]
    assert said.stdout.startswith(f"frozen: {name}  freeze")
    assert f"to undo: extauthz ctl end {name} --reason TEXT --operator NAME --socket {running.socket}" in said.stdout
    answer = running.ask(ACCOUNT, token=token)
    assert (403, "emergency_denied", name) == (
        answer.http_status,
        answer.metadata["reason"],
        answer.metadata["emergency"],
    )
    assert f"{name}  freeze" in running.ctl("emergencies").stdout
    assert 0 == running.ctl("end", name, *WHO).exit_code
    assert running.ask(ACCOUNT, token=token).allowed
    assert "0 emergencies" in running.ctl("emergencies").stdout


def test_a_freeze_survives_a_restart_and_revocations_stay_apart(running: Running) -> None:
    name = running.freeze("--client", "app")["id"]
    running.ctl("revoke", "--client", "other", "--until", "1h", *WHO)
    running.restart()
    assert "emergency_denied" == running.reason(ACCOUNT)
    assert [name] == [
        found["id"] for found in json.loads(running.ctl("emergencies", "--format", "json").stdout)["emergencies"]
    ]
    assert "1 revoked at run time" in running.ctl("revocations").stdout
    assert 1 == running.ctl("restore", name, *WHO).exit_code


def test_a_freeze_in_the_bundle_is_in_force_once_the_bundle_is(running: Running) -> None:
    running.write("frozen.yaml", freeze("{client: app}", when=around_now()))
    assert until(lambda: running.reason(ACCOUNT) == "emergency_denied")
    assert "inc-1  freeze, in force: client app, " in running.ctl("emergencies").stdout
    said = running.ctl("end", "inc-1", *WHO)
    assert (1, "extauthz: `inc-1` is of the bundle: end it there") == (
        said.exit_code,
        said.stderr[: len("extauthz: `inc-1` is of the bundle: end it there")],
    )
    (running.bundle / "frozen.yaml").unlink()
    assert until(lambda: running.ask(ACCOUNT).allowed)
    until(lambda: len(running.events()) == 2)
    assert [("emergency_opened", "inc-1", "bundle"), ("emergency_ended", "inc-1", "bundle")] == [
        (kind, detail["id"], detail["source"]) for kind, detail in running.events()
    ]


def test_it_ends_by_itself_at_its_second(running: Running) -> None:
    running.freeze("--client", "app", until="1h")
    running.passed = 3590.0
    assert not running.ask(ACCOUNT).allowed
    running.passed = 3601.0
    assert running.ask(ACCOUNT).allowed
    assert until(lambda: [kind for kind, _ in running.events()] == ["emergency_opened", "emergency_expired"])


# --- break glass


def test_requested_approved_by_two_and_opened_it_lets_pass_what_policies_deny(running: Running) -> None:
    assert "no_policy_matched" == running.reason()
    file = running.request()
    running.approve(file)
    assert "no_policy_matched" == running.reason(), "nothing is open before somebody opens it"
    said = running.ctl("break-glass", "open", str(file), "--operator", "operator-1")
    assert 0 == said.exit_code, said.output
    name = said.stdout.split()[1]
    assert f"opened: {name}  break glass, in force: u1 may {ROUTE}, " in said.stdout
    assert ", approved by duty-manager and ciso: INC-1" in said.stdout
    answer = running.ask()
    assert (True, "break_glass_allowed", name) == (
        answer.allowed,
        answer.metadata["reason"],
        answer.metadata["emergency"],
    )
    assert "no_policy_matched" == running.reason(sub="u2")
    assert "no_policy_matched" == running.reason(method="DELETE")
    assert "tenant_mismatch" == running.reason("/api/globex/loans/7")
    running.restart()
    assert "break_glass_allowed" == running.reason()
    assert 0 == running.ctl("end", name, *WHO).exit_code
    assert "no_policy_matched" == running.reason()
    said = running.open(file)
    assert (1, f"extauthz: `{name}` was opened before: make a new request, and have it approved\n") == (
        said.exit_code,
        said.stderr,
    )
    running.restart()
    assert 1 == running.open(file).exit_code
    assert "no_policy_matched" == running.reason()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "approvals: break glass needs the approvals of 2 approvers, found 0 (digest "),
        (("ciso",), "approvals: break glass needs the approvals of 2 approvers, found 1 (digest "),
        (("ciso", "ciso"), "approvals: break glass needs the approvals of 2 approvers, found 1 (digest "),
        (("ciso", "stranger"), "approvals: unknown approver `stranger`, did you mean `duty-manager`?"),
    ],
)
def test_one_person_with_a_root_shell_is_not_two(running: Running, names: tuple[str, ...], message: str) -> None:
    file = running.request()
    if names:
        running.approve(file, *names)
    said = running.open(file)
    assert (1, True) == (said.exit_code, said.stderr.startswith(f"extauthz: {message}"))
    assert "no_policy_matched" == running.reason()
    kind, detail = running.events()[-1]
    assert ("emergency_refused", "operator-1", ", ".join(dict.fromkeys(names))) == (
        kind,
        detail["operator"],
        detail.get("approvals", ""),
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"u1"', '"u2"'),
        ("loans", "cards"),
        ('"POST"', '"DELETE"'),
        ("INC-1", "INC-2"),
        ("is down", "is up"),
        ('"id": "g-', '"id": "g-0'),
    ],
)
def test_what_is_changed_after_it_was_signed_stays_shut(running: Running, old: str, new: str) -> None:
    file = running.request()
    running.approve(file)
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    said = running.open(file)
    assert 1 == said.exit_code
    assert "is not for this" in said.stderr or "id: must be" in said.stderr


def test_a_drill_goes_all_the_way_and_allows_nothing(running: Running) -> None:
    opened = running.opened("--drill")
    assert "drill" == opened["kind"]
    answer = running.ask()
    assert (False, "no_policy_matched", opened["id"]) == (
        answer.allowed,
        answer.metadata["reason"],
        answer.metadata["emergency"],
    )
    assert f'extauthz_emergency_uses_total{{id="{opened["id"]}",kind="drill"}} 1.0' in running.metrics()


def test_by_role_for_one_tenant(running: Running) -> None:
    running.opened("--role", "commander", "--tenant", "acme")
    assert "break_glass_allowed" == running.reason(roles=["commander"])
    assert "no_policy_matched" == running.reason()
    assert "no_policy_matched" == running.reason("/api/globex/loans/7", roles=["commander"], tenant_id="globex")


def test_a_freeze_shuts_what_break_glass_opened(running: Running) -> None:
    running.opened()
    frozen = running.freeze("--route", "api.bank.test/api/acme/loans/**")
    assert "emergency_denied" == running.reason()
    running.ctl("end", frozen["id"], *WHO)
    assert "break_glass_allowed" == running.reason()


def test_break_glass_ends_by_itself(running: Running) -> None:
    running.opened("--until", "2h")
    running.passed = 7195.0
    assert "break_glass_allowed" == running.reason()
    running.passed = 7200.0
    assert "no_policy_matched" == running.reason()
    assert until(lambda: "emergency_expired" == running.events()[-1][0])
    assert "0 emergencies" in running.ctl("emergencies").stdout


def test_it_may_begin_later(running: Running) -> None:
    opened = running.opened("--begin", "1h")
    assert "no_policy_matched" == running.reason()
    assert f"{opened['id']}  break glass, not yet: " in running.ctl("emergencies").stdout
    running.passed = 3601.0
    assert "break_glass_allowed" == running.reason()


def test_approvers_whom_a_new_bundle_does_not_name_have_approved_nothing(running: Running) -> None:
    """So a key that is lost ends what it has opened, when the bundle is rolled out without it."""
    opened = running.opened()
    text = (running.bundle / "bundle.yaml").read_text()
    running.write("bundle.yaml", text.replace(PUBLIC["ciso"], PUBLIC["stranger"]))
    assert until(lambda: running.reason() == "no_policy_matched")
    assert f"{opened['id']}  break glass, not approved: " in running.ctl("emergencies").stdout
    assert ("emergency_ended", opened["id"]) == (running.events()[-1][0], running.events()[-1][1]["id"])
    running.write("bundle.yaml", text)
    assert until(lambda: running.reason() == "break_glass_allowed")


def test_a_server_that_names_approvers_believes_no_others(tmp_path: Path) -> None:
    """Neither at run time nor in the bundle: who may write the bundle cannot make approvers."""
    listed = [{"name": name, "key": PUBLIC[name]} for name in ("stranger", "ciso")]
    running = Running(tmp_path, emergencies__approvers=yaml.encode(listed).decode())
    try:
        file = running.request()
        running.approve(file)
        assert "unknown approver `duty-manager`" in running.open(file).stderr
        running.approve(file, "stranger")
        running.write("open.yaml", signed(glass(when=around_now())))
        document = running.request(name="second.json")
        running.approve(document, "stranger", "ciso")
        assert until(
            lambda: (
                "Emergency" in str(running.server._live.status().documents)
                and running.server._live.status().documents["Emergency"] == 1
            )
        )
        assert "no_policy_matched" == running.reason()
        assert until(lambda: running.events()[-1][1]["id"] == "inc-1")
        kind, detail = running.events()[-1]
        assert ("emergency_refused", "bundle") == (kind, detail["source"])
        assert 0 == running.open(document).exit_code
        assert "break_glass_allowed" == running.reason()
    finally:
        running.stop()


# --- what is recorded


def test_everything_is_on_record_with_who_and_why_and_no_person(running: Running) -> None:
    frozen = running.freeze("--subject", "u9", "--issuer", "bank")
    opened = running.opened()
    running.ask()
    running.ask(sub="u9")
    for name in (opened["id"], frozen["id"]):
        running.ctl("end", name, "--operator", "operator-2", "--reason", "closed")
    events = running.events()
    assert [
        ("emergency_opened", frozen["id"]),
        ("emergency_approved", opened["id"]),
        ("emergency_approved", opened["id"]),
        ("emergency_opened", opened["id"]),
        ("emergency_ended", opened["id"]),
        ("emergency_ended", frozen["id"]),
    ] == [(kind, detail["id"]) for kind, detail in events]
    first, _, _, fourth, fifth, _ = (detail for _, detail in events)
    assert ("operator-1", "INC-1", "freeze", "subject") == tuple(
        first[key] for key in ("operator", "reason", "kind", "selector")
    )
    assert ["duty-manager", "ciso"] == [detail["approver"] for kind, detail in events if kind == "emergency_approved"]
    assert ("INC-1", "core banking is down", ROUTE, "duty-manager, ciso") == tuple(
        fourth[key] for key in ("ticket", "justification", "routes", "approvers")
    )
    assert ("operator-2", "closed", opened["uid"]) == (fifth["operator"], fifth["reason"], int(fifth["uid"]))
    assert opened["account"] == fifth["account"], "the kernel's word for who was at the socket"
    used = [(found["reason"], found["emergency"], found["emergency_kind"]) for found in running.decisions()]
    assert [("break_glass_allowed", opened["id"], "break_glass"), ("emergency_denied", frozen["id"], "freeze")] == used
    text = str(running.records())
    assert '"u9"' not in text.replace("'", '"')
    assert '"u1"' not in text.replace("'", '"')


def test_each_use_is_counted_and_logged(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    opened, frozen = running.opened(), running.freeze("--client", "other")
    ids = [running.ask().metadata["decision_id"] for _ in range(3)]
    running.ask(client_id="other")
    messages = [record.getMessage() for record in caplog.records]
    for decision in ids:
        assert f"break glass let a request pass: decision {decision}" in messages
    assert "a freeze refused a request" in messages
    text = running.metrics()
    assert f'extauthz_emergency_uses_total{{id="{opened["id"]}",kind="break_glass"}} 3.0' in text
    assert f'extauthz_emergency_uses_total{{id="{frozen["id"]}",kind="freeze"}} 1.0' in text
    assert 'extauthz_emergencies{kind="break_glass",source="runtime"} 1.0' in text
    assert 'extauthz_emergencies{kind="freeze",source="runtime"} 1.0' in text
    assert 'extauthz_emergencies{kind="freeze_everything",source="runtime"} 0.0' in text
    assert 'extauthz_emergency_end_timestamp_seconds{kind="break_glass",source="runtime"}' in text


# --- the clock


def test_a_clock_that_is_set_back_does_not_prolong_what_is_open(running: Running) -> None:
    """Two hours are two hours, whatever the clock says."""
    running.opened("--until", "2h")
    running.step, running.passed = -3600.0, 3600.0
    assert "break_glass_allowed" == running.reason()
    assert "the clock was set back by 3600 s since the server started" in running.ctl("emergencies").stderr
    running.passed = 7260.0
    assert "no_policy_matched" == running.reason()
    running.step = -7200.0
    assert "no_policy_matched" == running.reason(), "nor does it open again"


def test_a_clock_that_is_set_forward_ends_break_glass_and_no_freeze(running: Running) -> None:
    running.opened()
    running.freeze("--client", "other")
    assert ("break_glass_allowed", "emergency_denied") == (running.reason(), running.reason(client_id="other"))
    running.step = 3 * 3600.0
    assert ("no_policy_matched", "emergency_denied") == (running.reason(), running.reason(client_id="other"))
    assert "the clock was set forward by 10800 s since the server started" in running.ctl("emergencies").stderr


# --- mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("freeze", "--until", "1h", *WHO), "name exactly one of --token-id, --session"),
        (("freeze", "--client", "a", "--everything", "--until", "1h", *WHO), "name exactly one of --token-id"),
        (("freeze", "--client", "a", *WHO), "Missing option '--until'"),
        (("freeze", "--client", "a", "--until", "never", *WHO), "`never` must be 90s, 30m, 4h, 7d, or RFC 3339"),
        (("freeze", "--subject", "a", "--until", "1h", *WHO), "--subject needs --issuer"),
        (("freeze", "--route", "a b c", "--until", "1h", *WHO), "`a b c` must be [METHODS ]HOST[PATH]"),
        (("break-glass", "request", "--issuer", "bank", "--route", "GET a/b", "--until", "1h", "--ticket", "x", "--justification", "y", "--out", "z"), "name whom to let in: --subject or --role"),
        (("break-glass", "request", "--issuer", "bank", "--subject", "u", "--route", "a/b", "--until", "1h", "--ticket", "x", "--justification", "y", "--out", "z"), "`a/b` must be METHODS HOST/PATH"),
        (("break-glass", "request", "--issuer", "bank", "--subject", "u", "--route", "GET a/b", "--until", "1h", "--justification", "y", "--out", "z"), "Missing option '--ticket'"),
        (("break-glass", "request", "--issuer", "bank", "--subject", "u", "--route", "GET a/b", "--until", "1h", "--ticket", "x", "--out", "z"), "Missing option '--justification'"),
        (("break-glass", "open", "x"), "Missing option '--operator'"),
        (("end", "f-1", "--operator", "x"), "Missing option '--reason'"),
    ],
)  # fmt: skip
def test_wrong_usage_exits_with_2(untouched: Running, arguments: tuple[str, ...], message: str) -> None:
    said = untouched.ctl(*arguments)
    assert 2 == said.exit_code
    assert message in " ".join(said.stderr.split())
    assert [] == untouched.events()


ASK = ("break-glass", "request", "--issuer", "bank", "--ticket", "x", "--justification", "y", "--out", "z.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("freeze", "--tenant", "acmee", "--until", "1h", *WHO), "tenant: unknown tenant `acmee`, did you mean `acme`?"),
        (("freeze", "--client", "a", "--until", "31d", *WHO), "until: a freeze lasts 30 days at most"),
        (("freeze", "--everything", "--until", "8d", *WHO), "until: a freeze of everything lasts 7 days at most"),
        (("freeze", "--client", "a", "--until", "2001-01-01T00:00:00Z", *WHO), "until: must be in the future"),
        (("freeze", "--route", "api.bnk.test/api", "--until", "1h", *WHO), "route.path: no SecurityProfile covers `/api` on `api.bnk.test`"),
        (("freeze", "--route", "*", "--until", "1h", *WHO), "route: this is every request: write `everything: true`"),
        (("end", "f-1", *WHO), "no entry `f-1` is in force"),
        (("end", "r-1", *WHO), "`r-1` is a revocation: use `extauthz ctl restore`"),
        ((*ASK, "--subject", "u1", "--route", ROUTE, "--until", "5h"), "end: break glass lasts 4 hours at most"),
        ((*ASK, "--subject", "u1", "--route", ROUTE, "--until", "2001-01-01T00:00:00Z"), "end: must be after `begin`"),
        ((*ASK, "--role", "x", "--route", ROUTE, "--until", "1h"), "breakGlass.tenant: missing: every tenant has subjects with such roles"),
        ((*ASK, "--subject", "u1", "--route", "GET api.bank.test/apy/x", "--until", "1h"), "breakGlass.routes[0].path: no SecurityProfile covers `/apy/x`"),
        ((*ASK, "--subject", "u1", "--route", "GET *.bank.test/api/x", "--until", "1h"), "breakGlass.routes[0].host: `*.bank.test` must be one host"),
    ],
)  # fmt: skip
def test_what_the_server_refuses_exits_with_1_and_changes_nothing(
    untouched: Running, arguments: tuple[str, ...], message: str
) -> None:
    said = untouched.ctl(*arguments)
    assert 1 == said.exit_code
    assert said.stderr.startswith(f"extauthz: {message}"), said.stderr
    assert "0 emergencies" in untouched.ctl("emergencies").stdout


def test_the_longest_spans_fit(running: Running) -> None:
    running.freeze("--client", "a", until="30d")
    running.freeze("--everything", until="7d")
    running.opened("--until", "4h")


def test_break_glass_that_cannot_be_written_down_stays_shut_and_a_freeze_is_in_force(running: Running) -> None:
    file = running.request()
    running.approve(file)
    (running.directory / "revoked.copy.new").mkdir()
    said = running.open(file)
    assert (4, True) == (said.exit_code, said.stderr.startswith("extauthz: not opened: the revocation file"))
    assert "no_policy_matched" == running.reason()
    said = running.ctl("freeze", "--client", "app", "--until", "1h", *WHO)
    assert 4 == said.exit_code
    assert "in force now, but it will not survive a restart: the revocation file" in said.stderr
    assert "emergency_denied" == running.reason()
    said = running.ctl("end", said.stdout.split()[1], *WHO)
    assert (4, True) == (said.exit_code, said.stderr.startswith("extauthz: still frozen: the revocation file"))


def test_break_glass_whose_end_cannot_be_written_down_is_shut_and_says_so(running: Running) -> None:
    name = running.opened()["id"]
    (running.directory / "revoked.copy.new").mkdir()
    said = running.ctl("end", name, *WHO)
    assert 4 == said.exit_code
    assert "ended now, but a restart would open it again: the revocation file" in said.stderr
    assert "no_policy_matched" == running.reason()


def test_break_glass_never_survives_a_damaged_file_and_freezes_do(running: Running) -> None:
    running.opened()
    running.freeze("--client", "other")
    running.stop()
    (running.directory / "revoked").write_bytes(b"damaged")
    running.start()
    assert ("no_policy_matched", "emergency_denied") == (running.reason(), running.reason(client_id="other"))
    _, detail = running.events("revocations_opened")[-1]
    assert ("restored from its copy", "1") == (detail["file"], detail["break_glass_dropped"])


def test_an_approver_looks_first_and_may_decline(running: Running, tmp_path: Path) -> None:
    file = running.request()
    key = tmp_path / "key.pem"
    key.write_bytes(pem("ciso"))
    said = running.ctl("break-glass", "approve", str(file), "--approver", "ciso", "--key", str(key), text="n\n")
    assert 1 == said.exit_code
    assert f"u1 may {ROUTE}" in said.stdout
    assert "INC-1: core banking is down" in said.stdout
    assert "subjects of https://idp.bank.test, " in said.stdout
    assert [] == json.loads(file.read_text())["approvals"]


def test_of_a_document_the_approval_is_printed(running: Running, tmp_path: Path) -> None:
    document = glass(when=around_now())
    file, lines = tmp_path / "open.yaml", []
    file.write_text(document)
    for name in ("duty-manager", "ciso"):
        (tmp_path / f"{name}.pem").write_bytes(pem(name))
        said = running.ctl(
            "break-glass", "approve", str(file), "--approver", name, "--key", str(tmp_path / f"{name}.pem"), "--yes"
        )
        assert 0 == said.exit_code, said.output
        lines.append(f"  {said.stdout.splitlines()[-1]}\n")
    running.write("open.yaml", document + "  approvals:\n" + "".join(lines))
    assert until(lambda: running.reason() == "break_glass_allowed")
    assert "inc-1  break glass, in force: u1 may " in running.ctl("emergencies").stdout


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.json", "{}", "is no request for break glass: object missing required field `request`"),
        ("x.json", "\xff", "is no request for break glass: "),
        ("x.yaml", "a: [", "x.yaml:"),
        ("x.yaml", freeze("{client: a}"), "a freeze needs no approval"),
        ("x.yaml", glass() + "---\n" + glass().replace("inc-1", "inc-2"), "name one Emergency with --document, there are `inc-1`, `inc-2`"),
        ("x.yaml", glass().replace("ticket", "tikcet"), "unknown field `tikcet`, did you mean `ticket`?"),
    ],
)  # fmt: skip
def test_what_cannot_be_approved_exits_with_3(
    untouched: Running, tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path / "key.pem").write_bytes(pem("ciso"))
    said = untouched.ctl(
        "break-glass",
        "approve",
        str(tmp_path / name),
        "--approver",
        "ciso",
        "--key",
        str(tmp_path / "key.pem"),
        "--yes",
    )
    assert 3 == said.exit_code
    assert message in said.stderr


def test_a_key_that_is_none_exits_with_3(running: Running, tmp_path: Path) -> None:
    file = running.request()
    for text, message in (
        (b"abc", "holds no private key in PEM without a password"),
        (None, "cannot be read: no such file"),
    ):
        key = tmp_path / "key.pem"
        key.write_bytes(text) if text else key.unlink()
        said = running.ctl("break-glass", "approve", str(file), "--approver", "ciso", "--key", str(key), "--yes")
        assert (3, True) == (said.exit_code, message in said.stderr)


def test_nothing_is_ordered_over_tcp(untouched: Running) -> None:
    for method, target in (
        ("GET", "/emergencies"),
        ("POST", "/freezes"),
        ("POST", "/break-glasses"),
        ("DELETE", "/emergencies/f-1"),
    ):
        assert httpx.request(method, f"http://{untouched.addresses.admin}{target}").status_code in {404, 405}


@pytest.mark.parametrize(
    "name", ["freeze", "emergencies", "end", "break-glass request", "break-glass approve", "break-glass open"]
)
def test_help_has_examples_and_exit_codes(untouched: Running, name: str) -> None:
    text = untouched.ctl(*name.split(), "--help").stdout
    assert f"extauthz ctl {name}" in text
    assert "Exit codes: 0 " in text


def test_status_and_console_show_what_is_in_force_and_nobody_by_name(running: Running) -> None:
    frozen, opened = running.freeze("--subject", "u9", "--issuer", "bank"), running.opened()
    status = httpx.get(f"http://{running.addresses.admin}/status").json()
    assert [(frozen["id"], "freeze", "runtime"), (opened["id"], "break_glass", "runtime")] == [
        (each["id"], each["kind"], each["source"]) for each in status["emergencies"]
    ]
    page = httpx.get(f"http://{running.addresses.admin}/").text
    assert "Emergencies in force" in page
    assert all(each["id"] in page for each in (frozen, opened))
    assert "u9" not in page + str(status)
    assert "Emergencies in force" not in httpx.get(f"http://{running.addresses.admin}/metrics").text


def test_the_journal_knows_the_pattern_by_which_break_glass_let_a_request_pass(running: Running) -> None:
    running.opened()
    running.ask()
    assert "/api/{tenant}/loans/**" == running.decisions()[-1]["route"]


def test_audit_show_tells_the_whole_story_of_one(running: Running) -> None:
    opened, other = running.opened(), running.freeze("--client", "other")
    running.ask()
    running.ctl("end", opened["id"], *WHO)
    journal = str(running.directory / "journal")
    said = CliRunner().invoke(audit, ["show", journal, "--emergency", opened["id"]])
    events = [json.loads(line)["event"] for line in said.stdout.splitlines()]
    assert [
        "emergency_approved",
        "emergency_approved",
        "emergency_opened",
        "break_glass_allowed",
        "emergency_ended",
    ] == [event["lifecycle"]["kind"] if "lifecycle" in event else event["decision"]["reason"] for event in events]
    assert other["id"] not in said.stdout
