"""Write `docs/reference/`: the pages that are read off the code, so that they cannot disagree with it."""

import json
import sys
import types
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import checks
import msgspec
from msgspec.structs import FieldInfo

from extauthz.bundle.field_notes import field_notes, summary
from extauthz.bundle.kinds import KINDS
from extauthz.bundle.schema import schema
from extauthz.model.codes import ERRORS, WARNINGS
from extauthz.model.reasons import Reason

PAGES = Path(__file__).parent / "reference"
HEADER = "<!-- written by docs/generate.py: change the code, then run `make generate` -->\n\n"


def reasons() -> str:
    """Every way a Check can end."""
    rows = ["| reason | outcome | status | shape of the refusal | words for the client |", "|---|---|---|---|---|"]
    rows += [f"| `{r.code}` | {r.outcome} | {r.status} | {r.shape} | {r.words} |" for r in Reason]
    return (
        "# Reasons\n\n"
        "Every Check ends in exactly one of these. The code is in the journal (`reason`), in the metric "
        "`extauthz_checks_total{reason=…}`, in Envoy's dynamic metadata and in `extauthz check`. "
        "Codes are never renamed and never reused.\n\n" + "\n".join(rows) + "\n"
    )


def struct_page(title: str, intro: str, roots: list[tuple[str, type]]) -> str:
    """One table for every struct that is reachable from `roots`, under the path where it is used first."""
    parts = [f"# {title}\n\n{intro}\n"]
    seen: set[type] = set()
    queue = list(roots)
    while queue:
        name, struct = queue.pop(0)
        if struct in seen:
            continue
        seen.add(struct)
        parts.append(f"\n## {name}\n\n{summary(struct)}\n\n| field | type | default | meaning |\n|---|---|---|---|")
        comments = {field: note.replace("|", "\\|") for field, note in field_notes(struct).items()}
        hints = typing.get_type_hints(struct, include_extras=True)
        for field in msgspec.structs.fields(struct):
            hint = hints[field.name]
            below = [summary(nested) for nested in _structs(hint)]
            meaning = comments.get(field.name) or next(iter(below), "").replace("|", "\\|")
            parts.append(f"| `{field.encode_name}` | {_type(hint)} | {_default(field)} | {meaning} |")
            path = f"{name}.{field.encode_name}" if name != roots[0][0] or len(roots) > 1 else field.encode_name
            queue += [(path, nested) for nested in _structs(hint)]
    return "\n".join(parts) + "\n"


def _default(field: FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    if isinstance(value, msgspec.Struct):
        return "see below"
    if isinstance(value, Enum):
        value = value.value
    return f"`{msgspec.json.encode(value).decode()}`".replace("|", "\\|")


def _type(hint: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        bounds = [
            f"{sign} {getattr(meta, name)}"
            for meta in args[1:]
            if isinstance(meta, msgspec.Meta)
            for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
            if getattr(meta, name) is not None
        ]
        return " ".join([_type(args[0]), *bounds])
    if origin is Literal:
        return " or ".join(f"`{arg}`" for arg in args)
    if origin in {Union, types.UnionType}:
        return " or ".join(_type(arg) for arg in args if arg not in {type(None), msgspec.UnsetType})
    if origin in {list, tuple}:
        return f"list of {_type(args[0])}"
    if origin is dict or (origin and "Mapping" in str(origin)):
        return f"map of {_type(args[1])}"
    return "mapping" if _is_struct(hint) else getattr(hint, "__name__", str(hint))


def _is_struct(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)


def _structs(hint: Any) -> Iterator[type]:
    if _is_struct(hint):
        yield hint
    for arg in get_args(hint):
        yield from _structs(arg)


def configuration() -> str:
    """The server config, read off the options of every room."""
    from extauthz.settings import Settings  # noqa: PLC0415 - the page is written last, when all rooms exist

    return struct_page(
        "Server configuration",
        "`extauthz serve --config extauthz.yaml`. Every key can also be set by the environment variable "
        "`EXTAUTHZ_<SECTION>__<KEY>` or by `--set section.key=value`; flags win over the environment, the environment "
        "wins over the file. Unknown keys are errors.",
        [("The file", Settings)],
    )


def bundle() -> str:
    """The documents of a bundle, read off the structs that bind them."""
    return struct_page(
        "Bundle documents",
        "Every document is `apiVersion: extauthz.io/v1`, `kind`, `metadata: {name}` and the `spec` below. "
        "Unknown fields, duplicate keys and unknown names are errors with file, line and a suggestion.",
        [(f"kind: {kind}", spec) for kind, spec in KINDS.items()],
    )


def archive() -> str:
    """The file that carries a bundle, and what is signed."""
    from extauthz.bundle.manifest import Manifest  # noqa: PLC0415 - as above
    from extauthz.bundle.trust import Signatures  # noqa: PLC0415

    return struct_page(
        "Bundle archive",
        "`extauthz bundle build` writes a gzip member (RFC 1952: no name, no time; blocks stored unless `--compress`) "
        "of one tar archive (POSIX.1-1988, ustar). Its members are plain files with mode 0644, owner 0 and time 0: "
        "first `.manifest.json`, then `.manifest.sig` if there are signatures, then the bundle's files by path, each "
        "listed in the manifest. The archive ends with two blocks of zeros and is padded to a multiple of 10240 "
        "bytes. A server reads nothing else: no links, directories, devices, extended headers, repeated members, other "
        "order or bytes between and behind. Both files may also lie in a directory, beside the files they are about."
        "\n\nBoth are JSON without white space, members in the order below. A signature is over the exact bytes of "
        "`.manifest.json`; `openssl pkeyutl -verify -rawin` can check it.",
        [("`.manifest.json`", Manifest), ("`.manifest.sig`", Signatures)],
    )


def lint_codes() -> str:
    """Every code of a finding."""
    tables = []
    for title, codes in (("Warnings", WARNINGS), ("Errors", ERRORS)):
        rows = [f"| `{code}` | {words} |" for code, words in codes.items()]
        tables.append("\n".join([f"\n## {title}\n", "| code | what is found |", "|---|---|", *rows]))
    return (
        "# Lint codes\n\nWhat `extauthz bundle lint` prints in brackets behind a finding. Codes are never renamed. "
        "`--ignore CODE` leaves warnings of a code out; errors cannot be ignored: a bundle with one is not activated.\n"
        + "\n".join(tables)
        + "\n"
    )


def main() -> int:
    """Write every page; return 0."""
    PAGES.mkdir(exist_ok=True)
    pages = (
        ("reasons", reasons),
        ("configuration", configuration),
        ("bundle", bundle),
        ("checks", checks.page),
        ("bundle-archive", archive),
        ("lint", lint_codes),
    )
    for name, page in pages:
        (PAGES / f"{name}.md").write_text(HEADER + page(), encoding="utf-8")
    (PAGES / "schemas").mkdir(exist_ok=True)
    for kind in ("", *KINDS):
        text = json.dumps(schema(kind), indent=2, ensure_ascii=False)
        (PAGES / "schemas" / f"{kind or 'document'}.json").write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
