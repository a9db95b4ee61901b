"""Where journals lie: one process's in its directory, those of several workers below it, and how they are verified.

Rule: all workers sign with one key, so what is in a directory must also say whose it is, and none may be missing.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from extauthz.journal.bounds import DEFAULT_BOUNDS, Bounds
from extauthz.journal.chain import Line, parse_line
from extauthz.journal.checkpoint import is_signed_by, key_id, raw_bytes, read_checkpoint
from extauthz.journal.keys import PUBLIC_KEY_FILE, load_public_key
from extauthz.journal.report import Finding, VerifyReport
from extauthz.journal.segments import segment_numbers
from extauthz.journal.verify import verify
from extauthz.journal.verify_checkpoints import owner_of

_WORKER = re.compile(r"worker-([0-9]{1,3})")


def worker_name(worker: int) -> str:
    """Names a worker's directory, and ends the name of its instance."""
    return f"worker-{worker}"


def journals(directory: Path) -> dict[int | None, Path]:
    """By worker; None is the directory itself, unless only workers have written below it. Raises OSError."""
    found = {int(match[1]): path for path in directory.iterdir() if (match := _WORKER.fullmatch(path.name))}
    workers: dict[int | None, Path] = {worker: path for worker, path in sorted(found.items()) if path.is_dir()}
    return {None: directory, **workers} if not workers or segment_numbers(directory) else workers


def verify_all(
    directory: Path,
    public_keys: Sequence[Ed25519PublicKey] = (),
    checkpoints: Sequence[Path] = (),
    bounds: Bounds = DEFAULT_BOUNDS,
    each: Callable[[Line], None] | None = None,
) -> list[VerifyReport]:
    """Verify the journal in a directory, or all of its workers', see `verify`. Raises OSError, JournalError."""
    places = journals(directory)
    if places.keys() == {None}:
        return [verify(directory, public_keys, checkpoints, bounds, each=each)]
    names = {worker: worker_name(worker) for worker in places if worker is not None}
    reports = [
        verify(path, public_keys, checkpoints, bounds, owner="" if worker is None else names[worker], each=each)
        for worker, path in places.items()
    ]
    absent = {worker_name(worker) for worker in range(max(names))} | _signed_by(checkpoints, reports, public_keys)
    return [*reports, *(_missing(directory / name) for name in sorted(absent.difference(names.values())))]


def _signed_by(files: Sequence[Path], reports: list[VerifyReport], keys: Sequence[Ed25519PublicKey]) -> set[str]:
    """The workers who signed checkpoints that were kept elsewhere."""
    own = [load_public_key(file) for report in reports if (file := Path(report.directory) / PUBLIC_KEY_FILE).exists()]
    known = {key_id(raw_bytes(key)): key for key in keys or own}
    found = set()
    for file in files:
        for line in file.read_bytes().split(b"\n"):
            record = parse_line(line) if line else None
            signed = read_checkpoint(bytes(record.event)) if record else None
            key = known.get(signed.checkpoint.key_id) if signed else None
            if signed and key and is_signed_by(signed, key):
                found.add(owner_of(signed.checkpoint.instance))
    return found - {""}


def _missing(directory: Path) -> VerifyReport:
    report = VerifyReport(str(directory))
    message = "the journal is missing, although workers with higher numbers have written"
    report.findings.append(Finding("missing_journal", directory.name, 0, -1, message))
    return report
