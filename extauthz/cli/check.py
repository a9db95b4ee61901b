"""`extauthz check`: decide one request offline, by the very functions that serve, and explain it."""

import json
import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import click
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from extauthz.bundle import Built, BundleError, read_bundle
from extauthz.bundle.minting import mint, minting_keys
from extauthz.check import decide
from extauthz.cli import ExitCode
from extauthz.cli.check_introspection import EveryUseIsFirst, Said
from extauthz.cli.check_report import Report, print_text, report
from extauthz.guards import NO_REVOCATIONS, RevocationList
from extauthz.identity import Issuer, JwksError, KeySet, parse_jwks
from extauthz.model.paths import Ambiguous, canonicalise
from extauthz.model.ports import NoTokenCache
from extauthz.snapshot import Snapshot
from extauthz.sources import RevocationFileError, load_directory, load_revocations
from extauthz.wire import AnswerContext, InboundOptions, OutboundOptions, read_check, settle, write_answer
from extauthz.wire.twin import Check, CheckError, Peer, build_check, check_from_json, read_answer

EPILOG = """\b
Examples:
  extauthz check --bundle examples/banking https://api.banking.local/health
  extauthz check --bundle examples/banking https://api.banking.local/api/loans/l-17 \\
    --claims '{"sub": "u1", "tenant_id": "acme", "realm_access": {"roles": ["banking-manager"]}}'
  extauthz check --bundle examples/banking -X POST -H 'x-tenant-id: acme' \\
    --token @token.jwt --jwks keycloak=jwks.json https://api.banking.local/api/accounts
  extauthz check --bundle examples/banking --request check.json --format json
  extauthz check --bundle bundle --token 7Fjfp0ZBr1Kt --introspection answer.json https://api.bank.local/accounts

\b
--claims asks what would be if a user had such a token: it is signed with a key made on the spot, so nothing is proved
about any real token. --token verifies a real one, with the keys of the bundle or of --jwks. Where an issuer would be
asked about it (introspection), --introspection is a file with its answer.

\b
Exit codes: 0 allowed, 1 denied or undecided, 2 wrong usage, 3 the bundle or an input file is wrong.
"""
# A URL taken apart without decoding anything: how the path reads is what is to be found out.
_URL = re.compile(r"(https?)://([^/?#]+)([/?].*)?", re.DOTALL)
_DECISION_ID, _INTERACTION_ID = "0" * 32, "00000000-0000-4000-8000-000000000000"


class Asked(Struct, frozen=True, kw_only=True):
    """What the command line says about the request."""

    url: str
    file: Path | None
    method: str
    headers: tuple[str, ...]
    data: str
    principal: str
    source: str


@click.command(epilog=EPILOG)
@click.argument("url", required=False, default="")
@click.option("--bundle", type=click.Path(path_type=Path), required=True, help="Directory of the bundle.")
@click.option("--request", "file", type=click.Path(path_type=Path), help="A CheckRequest as JSON, instead of URL.")
@click.option("-X", "--method", default="GET", show_default=True)
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'")
@click.option("-d", "--data", default="", help="The body, if Envoy is configured to send it.")
@click.option("--principal", default="", help="Peer identity, e.g. spiffe://cluster.local/ns/web/sa/front.")
@click.option("--source", default="127.0.0.1", show_default=True, help="IP address of the direct peer.")
@click.option("--token", default="", metavar="TOKEN|@FILE", help="An access token to verify.")
@click.option("--claims", default="", metavar="JSON", help="Claims of a pretended token (what-if, not verified).")
@click.option("--issuer", default="", metavar="NAME", help="The Issuer of --claims; needed when there are several.")
@click.option("--jwks", "jwks", multiple=True, metavar="NAME=FILE", help="Keys of an Issuer whose keys are remote.")
@click.option("--introspection", type=click.Path(path_type=Path), help="The issuer's answer about an opaque token.")
@click.option(
    "--revocations",
    type=click.Path(path_type=Path),
    help="A server's `revocations.file`, beside what the bundle revokes.",
)
@click.option("--now", default="", metavar="ISO", help="Decide as of this time, e.g. 2026-01-31T12:00:00Z.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(  # noqa: PLR0913 - one parameter an option
    *,
    url: str,
    bundle: Path,
    file: Path | None,
    method: str,
    headers: tuple[str, ...],
    data: str,
    principal: str,
    source: str,
    token: str,
    claims: str,
    issuer: str,
    jwks: tuple[str, ...],
    introspection: Path | None,
    revocations: Path | None,
    now: str,
    form: str,
) -> None:
    """Decide one request, given as URL or as a CheckRequest in JSON, and explain the decision."""
    if bool(url) == bool(file):
        raise click.UsageError("give either a URL or --request")  # noqa: EM101, TRY003 - a sentence for the user
    if token and claims:
        raise click.UsageError("give either --token or --claims")  # noqa: EM101, TRY003
    if issuer and not claims:
        raise click.UsageError("--issuer goes with --claims")  # noqa: EM101, TRY003
    seconds = _seconds(now) if now else int(time.time())
    built = _read(bundle)
    notes: list[str] = []
    keys: dict[str, KeySet] = {**built.snapshot.keys, **_read_keys(jwks, built.issuers)}
    if claims:
        chosen = _choose(issuer, built.issuers)
        token = mint(chosen, _json_object(claims, "--claims"), seconds)
        keys[chosen.name] = minting_keys(chosen)
        notes.append(f"the claims are taken as said: no token of issuer `{chosen.name}` was verified")
    elif token:
        token = _token(token)
        missing = [found.name for found in built.issuers if found.has_keys and found.name not in keys]
        notes += [f"the keys of issuer `{name}` are not in the bundle: give --jwks {name}=FILE" for name in missing]
    _note_ambiguity(url, notes)
    asked = Asked(url=url, file=file, method=method, headers=headers, data=data, principal=principal, source=source)
    said = Said(_read_answer(introspection), {found.name: found for found in built.issuers}, seconds)
    world = replace(
        built.snapshot,
        keys={**keys, **said.extra_keys()},
        revoked=_read_revocations(revocations),
        replay=EveryUseIsFirst(notes),
    )
    found = _decide(_build(asked, token), world, seconds, said, notes)
    if form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        print_text(found)
    sys.exit(ExitCode.OK if found.outcome == "allow" else ExitCode.FAILED)


def _read_answer(file: Path | None) -> bytes | None:
    if file is None:
        return None
    text = _text(file).strip()
    if text.startswith("{"):
        _json_object(text, str(file))
    return text.encode()


def _decide(raw: bytes, world: Snapshot, now: int, said: Said, notes: Sequence[str]) -> Report:
    """As the handler does it, without a journal."""
    answers = OutboundOptions()
    asked = read_check(raw, InboundOptions())
    decision = settle(decide(asked, world, now, said), answers)
    context = AnswerContext(
        decision_id=_DECISION_ID,
        interaction_id=asked.facts.interaction_id or _INTERACTION_ID,
        revision=world.revision,
        facts=asked.facts,
    )
    return report(
        asked, decision, world, read_answer(write_answer(decision, context, answers)), now, [*notes, *said.notes]
    )


def _build(asked: Asked, token: str) -> bytes:
    if asked.file is not None:
        return _build_from_file(asked.file, token)
    match = _URL.fullmatch(asked.url)
    if match is None:
        raise click.UsageError(f"`{asked.url}` must be http(s)://HOST/PATH")  # noqa: EM102, TRY003
    headers = [_header(text) for text in asked.headers]
    if token:
        headers.append(("authorization", f"Bearer {token}"))
    return build_check(
        Check(
            method=asked.method,
            path=_path(match),
            host=match[2],
            scheme=match[1],
            headers=tuple(headers),
            body=asked.data.encode(),
            source=Peer(address=asked.source, port=50000, principal=asked.principal),
        )
    )


def _path(url: re.Match[str]) -> str:
    """Path and query, exactly as typed."""
    path = url[3] or "/"
    return path if path.startswith("/") else f"/{path}"


def _note_ambiguity(url: str, notes: list[str]) -> None:
    """The answer does not say what is wrong with a path; here it may be said."""
    match = _URL.fullmatch(url)
    found = canonicalise(_path(match)) if match else None
    if isinstance(found, Ambiguous):
        notes.append(f"the path is refused for {found.detail}")


def _build_from_file(file: Path, token: str) -> bytes:
    check = _json_object(_text(file), str(file))
    if token:
        at = check
        for step in ("attributes", "request", "http", "headers"):
            below = at.setdefault(step, {})
            if not isinstance(below, dict):
                _wrong(f"{file}: `{step}` must be an object")
            at = below
        at["authorization"] = f"Bearer {token}"
    try:
        return check_from_json(json.dumps(check))
    except CheckError as error:
        _wrong(f"{file}: {error}")


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.UsageError(f"`{text}` must be 'NAME: VALUE'")  # noqa: EM102, TRY003
    return name.strip().lower(), value.strip()


def _read(bundle: Path) -> Built:
    try:
        return read_bundle(load_directory(bundle), NoTokenCache())
    except BundleError as error:
        for finding in error.findings:
            click.echo(str(finding), err=True)
        sys.exit(ExitCode.CONFIG)


def _read_keys(named: Sequence[str], issuers: Sequence[Issuer]) -> dict[str, KeySet]:
    keys = {}
    for text in named:
        name, _, file = text.partition("=")
        if not file:
            raise click.UsageError(f"`{text}` must be NAME=FILE")  # noqa: EM102, TRY003
        try:
            keys[name], left_out = parse_jwks(_text(Path(file)).encode(), _choose(name, issuers))
        except JwksError as error:
            _wrong(f"{file}: {error}")
        for why in left_out:
            click.echo(f"{file}: {why}", err=True)
    return keys


def _read_revocations(file: Path | None) -> RevocationList:
    try:
        return load_revocations(file) if file else NO_REVOCATIONS
    except RevocationFileError as error:
        _wrong(str(error))


def _choose(name: str, issuers: Sequence[Issuer]) -> Issuer:
    by_name = {issuer.name: issuer for issuer in issuers}
    if not name and len(by_name) == 1:
        return issuers[0]
    if name not in by_name:
        known = ", ".join(f"`{known}`" for known in by_name) or "none"
        what = f"the bundle has no issuer `{name}`" if name else "name the issuer"
        raise click.UsageError(f"{what}: its issuers are {known}")  # noqa: EM102, TRY003
    return by_name[name]


def _token(text: str) -> str:
    """Command lines are seen by everybody on the machine, so a file may hold the token."""
    return _text(Path(text[1:])).strip() if text.startswith("@") else text


def _seconds(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"`{text}` must be a time such as 2026-01-31T12:00:00Z") from None  # noqa: EM102, TRY003
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _json_object(text: str, name: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except ValueError as error:
        _wrong(f"{name}: not JSON: {error}")
    if not isinstance(value, dict):
        _wrong(f"{name}: must be a JSON object")
    return value


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        _wrong(f"{file}: cannot be read: {(error.strerror or str(error)).lower()}")
    except UnicodeDecodeError:
        _wrong(f"{file}: is not UTF-8")


def _wrong(message: str) -> NoReturn:
    click.echo(f"extauthz: {message}", err=True)
    sys.exit(ExitCode.CONFIG)
