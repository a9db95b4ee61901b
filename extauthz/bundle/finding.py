"""What is wrong in the files of a bundle, and where: file, line and field."""

from collections.abc import Iterable
from typing import Final, Literal, get_args

from msgspec import Struct

from extauthz.model.codes import Code
from extauthz.model.letting_go import in_order_of, let_go
from extauthz.model.problems import Location

# What a bundle goes through on its way into force. Names of metrics, of journal records and in messages: public API.
Step = Literal["fetch", "unpack", "verify", "parse", "lint", "compile", "test", "activate"]
STEPS: Final[tuple[Step, ...]] = get_args(Step)

# A reader mends the first few and runs again; a line each for ten thousand broken policies helps nobody.
MAX_FINDINGS = 1000


class Finding(Struct, frozen=True, kw_only=True):
    """One defect of one file. Prints as `file:line: field: message`."""

    file: str  # path below the bundle's directory, with `/`
    line: int = 0  # from 1; 0 when the whole file is meant
    field: str = ""  # e.g. `spec.rules[0].to[0].paths`; "" when no single field is meant
    message: str  # lower case, no full stop, values in backticks; says what would be right
    severity: Literal["error", "warning"] = "error"
    code: Code = "invalid"  # stable, see `model.codes`

    def __str__(self) -> str:
        """One line for logs and terminals, without characters that could break it up."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        text = ": ".join(part for part in (place, self.field, self.message) if part)
        return "".join(char if char.isprintable() else _escape(char) for char in text)


class BundleError(Exception):
    """A bundle, or a file of it, that may not be used: all its findings, errors and warnings, and where it failed."""

    def __init__(self, findings: Iterable[Finding], step: Step = "parse") -> None:
        self.step = step
        ordered = sorted(findings, key=lambda finding: finding.severity == "warning")
        self.findings = in_order(ordered[:MAX_FINDINGS])
        super().__init__("\n".join(str(finding) for finding in self.findings))


def refusal(file: str, message: str, step: Step) -> BundleError:
    """The error for one thing that is wrong with one file."""
    return BundleError([Finding(file=file, message=message)], step)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """By file and line, as a reader goes through them; each once."""
    unique = dict.fromkeys((f.file, f.line, f.field, f.message, f.severity, f.code) for f in findings)
    found = [
        Finding(file=f[0], line=f[1], field=f[2], message=f[3], severity=f[4], code=f[5])
        for f in in_order_of(unique, lambda one: one)
    ]
    let_go(unique)
    return found


def dotted(location: Location) -> str:
    """`("spec", "rules", 0)` as `spec.rules[0]`; keys that are no plain words as `["a key"]`."""
    text = ""
    for step in location:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.replace("-", "_").isidentifier():
            text += f".{step}" if text else step
        else:
            text += f'["{shorten(step)}"]'
    return text


def shorten(text: str, limit: int = 80) -> str:
    """Quoted input in a message stays readable whatever was sent."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "backslashreplace").decode("ascii")
