"""Settings with several workers → a supervisor in the place of this process.

Rule: whatever can be refused without starting a worker is refused here, by the code that a server alone uses.
"""

import base64
import logging
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Raw

from extauthz.app.start_error import StartError
from extauthz.journal import JournalError
from extauthz.journal.keys import load_pseudonym_key, load_signing_key
from extauthz.model.addresses import parse_address
from extauthz.settings import Settings
from extauthz.sources.emergency_file import EmergencyFile, EmergencyFileError
from extauthz.transport.listen import claim
from extauthz.workers import worker_addresses
from extauthz.workers.plan import Plan

log = logging.getLogger("extauthz.app")

_DIRECTORY_MODE = 0o750
_MFD_NOEXEC_SEAL = 0x8  # memfd_create(2), Linux 6.3


def become_supervisor(settings: Settings, ports_file: str) -> None:
    """Does not return: the same process goes on as `extauthz serve --supervise`, without grpc. Raises StartError."""
    plan = make_plan(settings, ports_file)
    descriptor = _unnamed_file()
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(msgspec.json.encode(plan))
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.set_inheritable(descriptor, True)  # noqa: FBT003 - the signature is Python's
    sys.stdout.flush()
    sys.stderr.flush()
    command = [sys.executable, "-m", "extauthz", "serve", "--supervise", str(descriptor)]
    os.execv(sys.executable, command)  # noqa: S606 - ourselves


def _unnamed_file() -> int:
    """In memory, inherited, gone with the process. Hardened kernels want it sealed, older ones do not know how."""
    try:
        return os.memfd_create("extauthz-plan", _MFD_NOEXEC_SEAL)
    except OSError:
        return os.memfd_create("extauthz-plan", 0)


def make_plan(settings: Settings, ports_file: str = "") -> Plan:
    """What the supervisor needs. Raises StartError for what cannot be had."""
    addresses = worker_addresses(settings.listen.address, settings.workers, settings.admin.address)
    _try(addresses)
    _open_journal(settings)
    held, revocations = _open_emergencies(settings)
    dpop, transport = settings.dpop, settings.transport
    return Plan(
        addresses=addresses,
        settings=Raw(msgspec.json.encode(settings)),
        digest=settings.digest,
        admin=settings.admin,
        logs=settings.telemetry.logs,
        metrics=settings.telemetry.metrics,
        journal=settings.journal.directory,
        drain_seconds=transport.drain_delay_seconds + transport.drain_grace_seconds,
        replay_capacity=dpop.replay.capacity if dpop.replay.store == "memory" else 0,
        nonce_key="" if dpop.nonce_key_file else base64.b64encode(secrets.token_bytes(32)).decode(),
        revocations=revocations,
        spare=settings.workers.spare,
        ports_file=ports_file,
        held=held,
    )


def _try(addresses: Sequence[str]) -> None:
    """Refuse at once what another process has; a worker takes its address later."""
    for worker, address in enumerate(addresses):
        try:
            claim(parse_address(address))
        except OSError as error:
            message = f"worker {worker}: {error}"
            raise StartError(message) from error


def _open_journal(settings: Settings) -> None:
    """The directory above those of the workers, and the keys that they share: one pseudonym for one person."""
    options = settings.journal
    root = Path(options.directory)
    try:
        root.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        load_signing_key(options.signing_key_file, root)
        load_pseudonym_key(options.pseudonym_key_file, root)
    except JournalError as error:
        raise StartError(str(error)) from error
    except OSError as error:
        message = f"journal directory `{root}` cannot be written: {error.strerror}"
        raise StartError(message) from error


def _open_emergencies(settings: Settings) -> tuple[tuple[int, ...], Raw]:
    """Hold the file for as long as the supervisor lives, and read what all workers begin with."""
    if not settings.revocations.file:
        return (), Raw(b"[]")
    file = EmergencyFile(Path(settings.revocations.file))
    try:
        file.acquire()
        found = file.load()
        entries = found.entries if found else []
        if found is None or found.origin != "file":
            file.save(entries)  # proves that it can be written
        if found is not None and found.origin == "copy":
            extra = {"damage": found.damage, "break_glass_dropped": found.dropped}
            log.error("the revocation file `%s` was restored from its copy: %s", file.path, found.damage, extra=extra)
    except EmergencyFileError as error:
        raise StartError(str(error)) from error
    return (file.keep_across_exec(),), Raw(msgspec.json.encode(entries))
