"""What a server opens before it answers: its journal, the orders of run time, the exporter of spans.

Rule: each is undone by `undo`, which runs backwards when the start fails or the server stops.
"""

import logging
from contextlib import ExitStack
from importlib.metadata import version
from uuid import uuid4

from extauthz.app.rooms import Rooms
from extauthz.app.start_error import ca_file
from extauthz.journal import Journal, JournalIdentity
from extauthz.telemetry import Resource, Tracing

log = logging.getLogger("extauthz.app")


def open_journal(rooms: Rooms, undo: ExitStack) -> Journal:
    """From now on everything is on record. Raises OSError, JournalError."""
    place = rooms.place
    identity = JournalIdentity(
        instance=place.instance, boot=uuid4().hex, version=version("extauthz"), config_digest=place.digest
    )
    journal = Journal(rooms.settings.journal, identity, rooms.clock)
    undo.callback(journal.close)
    rooms.metrics.set_journal(journal.status)
    rooms.records.journal = journal
    return journal


def open_emergencies(rooms: Rooms, undo: ExitStack) -> None:
    """Read what was ordered at run time. Raises OSError."""
    undo.callback(rooms.emergencies.close)
    found = rooms.place.open_emergencies(rooms.emergencies)
    file = rooms.settings.revocations.file
    if not file:
        return
    how = {"file": "read", "copy": "restored from its copy"}[found.origin] if found else "created"
    detail = {"entries": str(len(rooms.emergencies.entries())), "file": how}
    if glasses := rooms.emergencies.glasses():
        detail["break_glass"] = str(len(glasses))
    if found is not None and found.origin == "copy":
        detail |= {"damage": found.damage, "break_glass_dropped": str(found.dropped)}
        log.error("the revocation file `%s` was restored from its copy: %s", file, found.damage, extra=detail)
    rooms.records.note("revocations_opened", detail)
    if found is None:
        log.warning("there is no revocation file `%s` yet: nothing is revoked at run time", file)


def start_tracing(rooms: Rooms, undo: ExitStack) -> Tracing:
    """Spans, where the settings name somebody who takes them. Raises StartError for the CA file."""
    options = rooms.settings.telemetry.tracing
    with ca_file("telemetry.tracing.caFile", options.ca_file):
        tracing = Tracing(options, Resource(options.service_name, version("extauthz"), rooms.place.instance))
    undo.callback(tracing.stop)
    rooms.metrics.set_dropped_spans(lambda: tracing.dropped)
    tracing.start()
    return tracing
