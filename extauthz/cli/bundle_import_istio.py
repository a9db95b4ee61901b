"""`extauthz bundle import-istio`: a bundle out of Istio's policies, and what could not be carried over."""

import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import click
from msgspec import json

from extauthz.bundle import BundleError
from extauthz.bundle.documents import NAME_PATTERN
from extauthz.bundle.kinds import MAX_NAME
from extauthz.cli import ExitCode
from extauthz.cli.bundle_directory import count
from extauthz.cli.bundle_output import PATH, end
from extauthz.cli.bundle_report import finding_line
from extauthz.mesh import ALWAYS, Change, ImportDefectError, Imported, ImportOptions, import_istio
from extauthz.mesh.identities import DEFAULT_TRUST_DOMAIN
from extauthz.mesh.workload import ROOT_NAMESPACE

_COLOURS = {"lost": "red", "narrower": "yellow", "note": "cyan"}
_YAML = (".yaml", ".yml")


def _pairs(_context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """`NAME=VALUE` and the like, split at the last separator: an issuer may have `=` in it."""
    shape = str(parameter.metavar)
    separator = "/" if "/" in shape else "="
    pairs = []
    for value in values:
        first, found, second = value.rpartition(separator)
        if not found or not first:
            raise click.BadParameter(f"`{value}` must be `{shape}`")  # noqa: EM102, TRY003 - a sentence for the user
        pairs.append((first, second))
    return tuple(pairs)


def _name(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if value and (len(value) > MAX_NAME or not re.fullmatch(NAME_PATTERN, value)):
        raise click.BadParameter(f"`{value}` must be 1 to {MAX_NAME} lower-case letters, digits, `-` and `.`")  # noqa: EM102, TRY003 - a sentence for the user
    return value


@click.command(
    name="import-istio",
    epilog="""\b
Examples:
  kubectl get authorizationpolicies,requestauthentications -A -o yaml > mesh.yaml
  extauthz bundle import-istio mesh.yaml --namespace banking --label app=accounts --out bundle
  extauthz bundle import-istio istio/ --namespace banking --label app=accounts --json

\b
Exit codes: 0 everything is carried over, 1 something is not (see the report), 2 wrong usage or input,
4 the directory cannot be written.
""",
)
@click.argument("files", nargs=-1, required=True, type=PATH)
@click.option("--out", type=PATH, help="Directory of the bundle, new or empty. Without it there is only the report.")
@click.option("--namespace", default="", help="Namespace of the workload, where the files speak of several.")
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_pairs,
    help="Label of the workload; repeat for each.",
)
@click.option("--no-labels", is_flag=True, help="The workload has no label that a selector asks for.")
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="KIND/NAME",
    callback=_pairs,
    help="What the workload serves, for `targetRefs`: `Gateway/public`.",
)
@click.option("--root-namespace", default=ROOT_NAMESPACE, show_default=True, help="`rootNamespace` of the mesh.")
@click.option("--default-namespace", default="", help="Namespace of documents that name none.")
@click.option(
    "--trust-domain",
    "trust_domains",
    multiple=True,
    default=(DEFAULT_TRUST_DOMAIN,),
    show_default=True,
    help="Trust domain of the mesh, then its aliases.",
)
@click.option("--provider", "providers", multiple=True, help="CUSTOM provider that is extauthz itself.")
@click.option(
    "--audience",
    "audiences",
    multiple=True,
    metavar="ISSUER=AUDIENCE",
    callback=_pairs,
    help="What tokens of an issuer call this service, for rules without `audiences`.",
)
@click.option("--name", default="", callback=_name, help="Name of the bundle; the namespace when left out.")
@click.option("--deny-more", is_flag=True, help="Write even if a denial is lost, and deny more in its place.")
@click.option("--strict", is_flag=True, help="Write nothing unless everything is carried over.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(  # noqa: PLR0913 - one parameter for each option
    files: tuple[Path, ...],
    out: Path | None,
    namespace: str,
    labels: tuple[tuple[str, str], ...],
    *,
    no_labels: bool,
    targets: tuple[tuple[str, str], ...],
    root_namespace: str,
    default_namespace: str,
    trust_domains: tuple[str, ...],
    providers: tuple[str, ...],
    audiences: tuple[tuple[str, str], ...],
    name: str,
    deny_more: bool,
    strict: bool,
    as_json: bool,
) -> None:
    """Turn Istio's AuthorizationPolicy and RequestAuthentication documents in FILES into a bundle for one workload.

    FILES may be directories. What another authorizer decides, or a rule that cannot be said here, is reported with what
    to do; nothing is allowed that Istio would not allow.
    """
    if no_labels and labels:
        end("`--label` and `--no-labels` exclude each other", ExitCode.USAGE)
    options = ImportOptions(
        namespace=namespace,
        labels=dict(labels) if labels or no_labels else None,
        targets=frozenset(targets),
        root_namespace=root_namespace,
        default_namespace=default_namespace,
        trust_domains=trust_domains,
        providers=frozenset(providers),
        audiences=dict(audiences),
        name=name,
    )
    if out is not None and _is_taken(out):
        end(f"{out}: exists and is not empty: name another directory", ExitCode.USAGE)
    try:
        imported = import_istio(_read(files), options)
    except BundleError as error:
        _refuse_input(error, as_json=as_json)
    except ImportDefectError as error:
        for finding in error.findings:
            click.echo(finding_line(finding), err=True)
        end("the bundle would not be usable: this is a defect of the import, please report it", ExitCode.FAILED)
    withheld = (strict and not imported.is_whole) or (imported.refuses and not deny_more)
    if out is not None and not withheld:
        _write(out, imported.files)
    _tell(imported, out, withheld=withheld, as_json=as_json)
    sys.exit(ExitCode.OK if imported.is_whole else ExitCode.FAILED)


def _read(paths: Sequence[Path]) -> dict[str, bytes]:
    """The files by the names they were given, those of directories in order."""
    found: dict[str, bytes] = {}
    for path in paths:
        inside = sorted(each for each in path.rglob("*") if each.suffix in _YAML and each.is_file())
        for file in inside if path.is_dir() else [path]:
            try:
                found[str(file)] = file.read_bytes()
            except OSError as error:
                end(f"{file}: {(error.strerror or str(error)).lower()}", ExitCode.USAGE)
        if path.is_dir() and not inside:
            end(f"{path}: no `.yaml` file below this directory", ExitCode.USAGE)
    return found


def _refuse_input(error: BundleError, *, as_json: bool) -> NoReturn:
    if as_json:
        click.echo(json.encode({"ok": False, "written": False, "errors": error.findings}))
    else:
        for finding in error.findings:
            click.echo(finding_line(finding), err=True)
    sys.exit(ExitCode.USAGE)


def _is_taken(out: Path) -> bool:
    return (out.is_dir() and any(out.iterdir())) or (out.exists() and not out.is_dir())


def _write(out: Path, files: dict[str, bytes]) -> None:
    """All files or none: what is half written is never a bundle."""
    fresh = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        for name, content in files.items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            (fresh / name).write_bytes(content)
        fresh.chmod(0o755)
        with suppress(FileNotFoundError):
            out.rmdir()  # empty, or it would have been refused
        fresh.rename(out)
    except OSError as error:
        if fresh is not None:
            shutil.rmtree(fresh, ignore_errors=True)
        end(f"{out}: {(error.strerror or str(error)).lower()}", ExitCode.RESOURCE)


def _tell(imported: Imported, out: Path | None, *, withheld: bool, as_json: bool) -> None:
    written = out is not None and not withheld
    if as_json:
        workload = imported.workload
        click.echo(
            json.encode(
                {
                    "ok": imported.is_whole,
                    "written": written,
                    "out": None if out is None else str(out),
                    "workload": {"namespace": workload.namespace, "labels": workload.labels},
                    "applied": imported.applied,
                    "elsewhere": imported.elsewhere,
                    "others": imported.others,
                    "changes": imported.changes,
                    "always": ALWAYS,
                }
            )
        )
        return
    for change in imported.changes:
        click.echo(_line(change))
        if change.instead:
            click.echo(f"{'':10}{change.instead}")
    click.echo(_summary(imported))
    for title in imported.elsewhere:
        click.echo(f"  not for this workload: {title}")
    if withheld:
        why = "`--strict` writes only what is whole"
        if imported.refuses:
            why = "what is lost would have denied requests: mend the input, or deny more instead with `--deny-more`"
        click.echo(f"nothing was written: {why}", err=True)
    elif written:
        click.echo(f"{out}: {count(len(imported.files), 'file')} written; see `extauthz bundle lint {out}`")


def _line(change: Change) -> str:
    kind = click.style(f"{change.kind:<8}", fg=_COLOURS[change.kind])
    return f"{kind}  {change} ({change.document})"


def _summary(imported: Imported) -> str:
    workload = imported.workload
    labels = ",".join(f"{name}={value}" for name, value in sorted(workload.labels.items())) or "no labels"
    counts = [(kind, sum(change.kind == kind for change in imported.changes)) for kind in _COLOURS]
    words = ", ".join(count(number, kind) if kind == "note" else f"{number} {kind}" for kind, number in counts)
    applied = count(len(imported.applied), "document")
    return f"{workload.namespace} ({labels}): {applied} carried over; {words}"
