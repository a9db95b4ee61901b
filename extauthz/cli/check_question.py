"""The question that `extauthz check` and `extauthz bundle explain` put, and its answer by the functions that serve."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from msgspec import Struct
from msgspec.structs import replace

from extauthz.bundle import Built
from extauthz.bundle.minting import mint, minting_keys
from extauthz.check import decide
from extauthz.cli.check_input import json_object, read_text, read_token, seconds
from extauthz.cli.check_introspection import EveryUseIsFirst, Said
from extauthz.cli.check_keys import choose, read_keys, read_orders
from extauthz.cli.check_report import Report, report
from extauthz.cli.check_request import Asked, ambiguity, build_request
from extauthz.identity import KeySet
from extauthz.policy import Closer
from extauthz.snapshot import Snapshot
from extauthz.wire import AnswerContext, InboundOptions, OutboundOptions, read_check, settle, write_answer
from extauthz.wire.twin import read_answer

_DECISION_ID, _INTERACTION_ID = "0" * 32, "00000000-0000-4000-8000-000000000000"
_FILE = click.Path(path_type=Path)
_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.argument("url", required=False, default=""),
    click.option("--request", "file", type=_FILE, help="A CheckRequest as JSON, instead of URL."),
    click.option("-X", "--method", default="GET", show_default=True),
    click.option("--host", default="", help="With --path, instead of URL."),
    click.option("--path", default="/", show_default=True, help="With query, percent-encoded; beside --host."),
    click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'"),
    click.option("-d", "--data", default="", help="The body, if Envoy is configured to send it."),
    click.option("--principal", default="", help="Peer identity, e.g. spiffe://cluster.local/ns/web/sa/front."),
    click.option("--source", default="127.0.0.1", show_default=True, help="IP address of the direct peer."),
    click.option("--token", default="", metavar="TOKEN|@FILE", help="An access token to verify."),
    click.option(
        "--claims",
        "--token-claims",
        "claims",
        default="",
        metavar="JSON|@FILE",
        help="Claims of a pretended token (what-if, not verified).",
    ),
    click.option("--issuer", default="", metavar="NAME", help="The Issuer of --claims; needed when there are several."),
    click.option("--jwks", multiple=True, metavar="NAME=FILE", help="Keys of an Issuer whose keys are remote."),
    click.option("--introspection", type=_FILE, help="The issuer's answer about an opaque token."),
    click.option(
        "--revocations",
        type=_FILE,
        help="A server's `revocations.file`, beside what the bundle revokes, freezes and opens.",
    ),
    click.option("--now", default="", metavar="ISO", help="Decide as of this time, e.g. 2026-01-31T12:00:00Z."),
    click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True),
)


class Question(Struct, frozen=True, kw_only=True):
    """What the command line says; one field for each of `question_options`."""

    url: str
    file: Path | None
    method: str
    host: str
    path: str
    headers: tuple[str, ...]
    data: str
    principal: str
    source: str
    token: str
    claims: str
    issuer: str
    jwks: tuple[str, ...]
    introspection: Path | None
    revocations: Path | None
    now: str


def question_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of both commands; `form` comes beside the fields of a Question."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def check_usage(question: Question) -> None:
    """Raise UsageError for options that contradict each other."""
    ways = [bool(question.url), bool(question.file), bool(question.host)]
    if sum(ways) != 1:
        raise click.UsageError("give either a URL or --request or --host")  # noqa: EM101, TRY003 - a sentence for the user
    if question.token and question.claims:
        raise click.UsageError("give either --token or --claims")  # noqa: EM101, TRY003
    if question.issuer and not question.claims:
        raise click.UsageError("--issuer goes with --claims")  # noqa: EM101, TRY003


def answer(question: Question, built: Built) -> Report:
    """Decide as a server would that has this bundle, and explain it."""
    now = seconds(question.now) if question.now else int(time.time())
    notes: list[str] = []
    keys: dict[str, KeySet] = {**built.snapshot.keys, **read_keys(question.jwks, built.issuers)}
    token = question.token
    if question.claims:
        chosen = choose(question.issuer, built.issuers)
        text = question.claims
        claims = json_object(read_text(Path(text[1:])) if text.startswith("@") else text, "--claims")
        token = mint(chosen, claims, now)
        keys[chosen.name] = minting_keys(chosen)
        notes.append(f"the claims are taken as said: no token of issuer `{chosen.name}` was verified")
    elif token:
        token = read_token(token)
        missing = [found.name for found in built.issuers if found.has_keys and found.name not in keys]
        notes += [f"the keys of issuer `{name}` are not in the bundle: give --jwks {name}=FILE" for name in missing]
    asked = Asked(
        url=question.url,
        host=question.host,
        path=question.path,
        file=question.file,
        method=question.method,
        headers=question.headers,
        data=question.data,
        principal=question.principal,
        source=question.source,
    )
    if why := ambiguity(asked):
        notes.append(why)
    said = Said(_read_answer(question.introspection), {found.name: found for found in built.issuers}, now)
    world = replace(
        built.snapshot,
        keys={**keys, **said.extra_keys()},
        orders=read_orders(question.revocations, built.snapshot),
        replay=EveryUseIsFirst(notes),
    )
    return _decide(build_request(asked, token), world, now, said, notes, Closer(built.data))


def _decide(raw: bytes, world: Snapshot, now: int, said: Said, notes: Sequence[str], closer: Closer) -> Report:
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
    written = read_answer(write_answer(decision, context, answers))
    return report(asked, decision, world, written, now, [*notes, *said.notes], closer)


def _read_answer(file: Path | None) -> bytes | None:
    if file is None:
        return None
    text = read_text(file).strip()
    if text.startswith("{"):
        json_object(text, str(file))
    return text.encode()
