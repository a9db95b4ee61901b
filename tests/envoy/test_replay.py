"""What went through a real Envoy, replayed against a changed bundle, agrees with sending it again to that bundle."""

import json
from contextlib import ExitStack
from pathlib import Path

from click.testing import CliRunner

from extauthz.cli.bundle import command
from extauthz.cli.demo_requests import ASKS
from extauthz.cli.demo_run import Outcome, run
from extauthz.cli.demo_stack import CHECKOUT, Issuer, Stack, copy_bundle, start_server
from extauthz.cli.demo_tokens import Minter
from tests.envoy.gateway import Launch
from tests.envoy.variants import Variant

MANAGERS = "from: [{roles: [banking-manager, banking-admin]}]"
OFFICERS = "from: [{roles: [banking-officer, banking-admin]}]"
# Subjects, segments, header and query values of the requests; what is left of them are pseudonyms. Ids may hold `c-9`.
SECRETS = (
    b"manager-1",
    b"officer-1",
    b"l-17",
    b'"c-9"',
    b"/c-9",
    b"T-1842",
    b"0015800001041RHAAY",
    b'"400"',
    b"eyJ",
    b"Bearer",
)


def test_replay_names_exactly_the_decisions_that_change(
    tmp_path: Path, issuer: Issuer, minter: Minter, upstream_port: int, launch_envoy: Launch
) -> None:
    """Every request of the demo: real tokens, good and forged, tenants, FAPI headers, ambiguous paths."""
    outcomes: dict[str, dict[str, Outcome]] = {}
    with ExitStack() as stack:
        for name in ("old", "new"):
            work = tmp_path / name
            work.mkdir()
            bundle = copy_bundle(CHECKOUT / "examples" / "banking", work / "bundle", issuer)
            if name == "new":
                staff = bundle / "policies" / "staff.yaml"
                assert MANAGERS in staff.read_text()
                staff.write_text(staff.read_text().replace(MANAGERS, OFFICERS))
                (bundle / "tests" / "staff.yaml").unlink()  # its cases say what managers may
            server = start_server(work, stack, bundle, ["journal.replay=attributes"])
            gateway = launch_envoy(Variant(), authz_port=server.port)
            found = run(ASKS, Stack(upstream_port, issuer, server, gateway.envoy, gateway.log), minter)
            outcomes[name] = {outcome.ask.name: outcome for outcome in found}
    arguments = ["--from", str(tmp_path / "old" / "journal"), "--live", str(tmp_path / "old" / "bundle")]
    arguments += ["--against", str(tmp_path / "new" / "bundle"), "--examples", "99", "--json"]
    result = CliRunner().invoke(command, ["replay", *arguments])
    assert 1 == result.exit_code, result.output
    report = json.loads(result.stdout)["report"]
    would = {one["decisionId"]: group["newReason"] for group in report["groups"] for one in group["examples"]}
    unknown = {one["decisionId"] for each in report["unknownBy"] for one in each["examples"]}
    needed = {each["needs"] for each in report["unknownBy"]}
    assert {"request.query[amount]"} == needed  # an amount has a pseudonym alone, which is neither more nor less
    assert len(outcomes["old"]) == report["decisions"]
    for name, before in outcomes["old"].items():
        if before.decision_id not in unknown:
            after = would.get(before.decision_id, before.reason)
            assert outcomes["new"][name].reason == after, name
    assert {"allow_to_deny", "deny_to_allow"} <= report["changes"].keys()
    written = b"".join(file.read_bytes() for file in (tmp_path / "old" / "journal").glob("segment-*.ndjson"))
    assert [] == [secret for secret in SECRETS if secret in written]
