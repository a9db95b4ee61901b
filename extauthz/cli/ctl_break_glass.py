"""`extauthz ctl break-glass`: request, approve, open."""

from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import Struct

from extauthz.bundle.approvals import ApprovalSpec, GlassRequest
from extauthz.bundle.approvals import approve as sign
from extauthz.bundle.emergencies import EmergencySpec, glass_request, glass_summary
from extauthz.bundle.finding import BundleError
from extauthz.bundle.tree import bind, parse_yaml
from extauthz.bundle.trust import BadKeyError, read_private_key
from extauthz.cli import ExitCode
from extauthz.cli.control import EXIT_CODES, FORMAT, OPERATOR, SOCKET, ask, moment
from extauthz.cli.control import end as end_program
from extauthz.cli.ctl_emergencies import fail_on_warning, read_route, show

_PATH = click.Path(path_type=Path, dir_okay=False)
_FILE = click.argument("file", type=_PATH)


class _Paper(Struct, frozen=True, forbid_unknown_fields=True):
    """A request and its approvals, as a file that goes from hand to hand."""

    request: GlassRequest
    approvals: tuple[ApprovalSpec, ...] = ()


@click.group(name="break-glass")
def break_glass() -> None:
    """Allow for a while what policies deny: requested, approved by two, opened."""


@break_glass.command(
    epilog=f"""\b
Examples:
  extauthz ctl break-glass request --subject 6f0c2f5e-… --issuer keycloak \\
    --route 'GET,POST api.banking.local/api/loans/**' --until 2h \\
    --ticket INC-4711 --justification 'core banking is down, loans are paid by hand' --out inc-4711.json
  extauthz ctl break-glass request --role incident-commander --issuer keycloak --tenant acme \\
    --route 'GET api.banking.local/api/accounts/**' --until 1h --drill \\
    --ticket DRILL-12 --justification 'quarterly drill' --out drill.json

\b
Nothing is open yet: two approvers sign the file, then somebody opens it. It lasts 4 hours at most.

{EXIT_CODES}""",
)
@click.option("--subject", "subjects", multiple=True, metavar="ID", help="A person or machine; may be repeated.")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="Everybody with this role; may be repeated.")
@click.option("--issuer", required=True, metavar="NAME|ISS", help="Whose subjects and roles these are.")
@click.option("--route", "routes", multiple=True, required=True, metavar="'METHODS HOST/PATH'", help="May be repeated.")
@click.option("--tenant", default="", metavar="ID", help="Only resources of this tenant; needed with --role.")
@click.option("--begin", default="now", show_default=True, metavar="TIME", help="When it begins: 30m or RFC 3339.")
@click.option("--until", required=True, metavar="TIME", help="When it ends: 30m, 4h (from now) or RFC 3339.")
@click.option("--ticket", required=True, metavar="TEXT", help="Where the reasons are kept.")
@click.option("--justification", required=True, metavar="TEXT", help="Why the policies may be overruled.")
@click.option("--drill", is_flag=True, help="Rehearse: recorded and alerted as a drill, allows nothing.")
@click.option("--out", type=_PATH, required=True, help="The file to be approved.")
@SOCKET
def request(  # noqa: PLR0913 - one parameter an option
    *,
    subjects: tuple[str, ...],
    roles: tuple[str, ...],
    issuer: str,
    routes: tuple[str, ...],
    tenant: str,
    begin: str,
    until: str,
    ticket: str,
    justification: str,
    drill: bool,
    out: Path,
    path: str,
) -> None:
    """Write a request that the server has checked to a file, for approvers to sign."""
    if bool(subjects) == bool(roles):
        raise click.UsageError("name whom to let in: --subject or --role")  # noqa: EM101, TRY003 - a sentence for the user
    named: list[dict[str, Any]] = [{"issuer": issuer, "id": subject} for subject in subjects]
    named += [{"issuer": issuer, "roles": list(roles)}] if roles else []
    order: dict[str, Any] = {
        "breakGlass": {"subjects": named, "routes": [_whole(read_route(route), route) for route in routes]},
        "end": moment(until, "--until"),
        "ticket": ticket,
        "justification": justification,
        "drill": drill,
    }
    if tenant:
        order["breakGlass"]["tenant"] = tenant
    if begin != "now":
        order["begin"] = moment(begin, "--begin")
    drafted = ask(path, "POST", "/break-glasses/drafts", order)
    paper = _Paper(msgspec.convert(drafted["request"], GlassRequest))
    _write(out, paper)
    _describe(paper)
    click.echo(f"written to {out}; next, each of two approvers:")
    click.echo(f"  extauthz ctl break-glass approve {out} --approver NAME --key FILE")


@break_glass.command(
    epilog="""\b
Examples:
  extauthz ctl break-glass approve inc-4711.json --approver duty-manager --key duty-manager.pem
  extauthz ctl break-glass approve bundle/emergencies.yaml --document inc-4711 --approver ciso --key ciso.pem

\b
Needs no server. Of a request the approval is added to the file; of a document in a bundle it is printed, to be put
under `spec.approvals`. Exit codes: 0 signed, 1 declined, 2 wrong usage, 3 the file or key cannot be used.
""",
)
@_FILE
@click.option("--document", default="", metavar="NAME", help="The Emergency in a YAML file, when there are several.")
@click.option("--approver", required=True, metavar="NAME", help="Your name in the list of approvers.")
@click.option(
    "--key", "key_file", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Your private key."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def approve(*, file: Path, document: str, approver: str, key_file: Path, yes: bool) -> None:
    """Sign what FILE asks for, after a look at it."""
    is_document = file.suffix in {".yaml", ".yml"}
    paper = _Paper(_read_document(file, document)) if is_document else _read(file)
    _describe(paper)
    try:
        key = read_private_key(_bytes(key_file))
    except BadKeyError as error:
        end_program(f"{key_file} {error}", ExitCode.CONFIG)
    if not yes and not click.confirm("approve this?", default=False):
        end_program("not approved", ExitCode.FAILED)
    approval = sign(paper.request, approver, key)
    if is_document:
        click.echo(f"- {{approver: {approval.approver}, signature: {approval.signature}}}")
        return
    others = tuple(other for other in paper.approvals if other.approver != approver)
    _write(file, _Paper(paper.request, (*others, approval)))
    click.echo(f"approved by {' and '.join(found.approver for found in (*others, approval))}")


@break_glass.command(
    name="open",
    epilog=f"""\b
Examples:
  extauthz ctl break-glass open inc-4711.json --operator "$USER"

\b
In force with the next request. The same file opens it on every server, each of them must be asked.

{EXIT_CODES}""",
)
@_FILE
@OPERATOR
@SOCKET
@FORMAT
def open_(*, file: Path, operator: str, path: str, form: str) -> None:
    """Open what FILE asks for and two approvers have signed."""
    paper = _read(file)
    order = {"request": paper.request, "approvals": paper.approvals, "operator": operator}
    done = ask(path, "POST", "/break-glasses", order)
    show(done, "opened", form)
    if form == "text":
        click.echo(f"to end it: extauthz ctl end {done['id']} --reason TEXT --operator NAME --socket {path}")
    fail_on_warning(done)


def _whole(route: dict[str, Any], text: str) -> dict[str, Any]:
    if set(route) != {"host", "path", "methods"}:
        message = f"`{text}` must be METHODS HOST/PATH, e.g. `GET,POST api.example.com/loans/**`"
        raise click.BadParameter(message, param_hint="--route")
    return route


def _describe(paper: _Paper) -> None:
    asked = paper.request
    found = glass_summary(asked, ())
    word = "drill of break glass" if asked.drill else "break glass"
    issuers = " and ".join(dict.fromkeys(subject.issuer for subject in asked.break_glass.subjects))
    click.echo(f"{word} {asked.id}: {found.what}")
    click.echo(f"  subjects of {issuers}, {asked.begin.isoformat()} to {asked.end.isoformat()}")
    click.echo(f"  {asked.ticket}: {asked.justification}")
    click.echo(f"  digest {asked.digest}")


def _read(file: Path) -> _Paper:
    try:
        return msgspec.json.decode(_bytes(file), type=_Paper)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        end_program(f"{file}: is no request for break glass: {str(error).lower()}", ExitCode.CONFIG)


def _read_document(file: Path, name: str) -> GlassRequest:
    try:
        trees = parse_yaml(_bytes(file), str(file))
    except BundleError as error:
        end_program(str(error), ExitCode.CONFIG)
    found = [tree for tree in trees if isinstance(tree.value, dict) and tree.value.get("kind") == "Emergency"]
    names = [(tree.value.get("metadata") or {}).get("name", "") for tree in found]
    chosen = [tree for tree, known in zip(found, names, strict=True) if name in {"", known}]
    if len(chosen) != 1:
        listed = ", ".join(f"`{known}`" for known in names) or "none"
        end_program(f"{file}: name one Emergency with --document, there are {listed}", ExitCode.CONFIG)
    spec = bind(chosen[0], EmergencySpec, ("spec",))
    if isinstance(spec, list):
        end_program("\n".join(map(str, spec)), ExitCode.CONFIG)
    asked = glass_request(chosen[0].value["metadata"]["name"], spec)
    if asked is None:
        end_program(f"{file}: a freeze needs no approval", ExitCode.CONFIG)
    return asked


def _write(file: Path, paper: _Paper) -> None:
    try:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(paper)) + b"\n")
    except OSError as error:
        end_program(f"{file}: cannot be written: {(error.strerror or str(error)).lower()}", ExitCode.RESOURCE)


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        end_program(f"{file}: cannot be read: {(error.strerror or str(error)).lower()}", ExitCode.CONFIG)
