"""How many workers, and where each of them listens.

Rule: every worker has an address of its own. One that several share (SO_REUSEPORT) would leave it to the kernel which
of them gets Envoy's one connection, and with it all the work.
"""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from extauthz.model.addresses import Address, parse_address

_MAX_PORT = 65535
_ANY = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not listened on


class WorkersOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The processes that decide. Envoy lists the address of each as an endpoint of one cluster."""

    count: Annotated[int, Meta(ge=1, le=64)] = 1  # 1: one process; more: a supervisor and so many workers
    # of the gRPC listeners, one a worker; when empty they follow from `listen.address`: the ports from there on, or
    # `.0`, `.1` … behind the path of a Unix socket
    addresses: tuple[str, ...] = ()
    # with several workers one process more, which has everything loaded but a bundle and takes the place of one that
    # ends; it costs some 75 MB and saves about a second of every restart
    spare: bool = True

    def __post_init__(self) -> None:
        """As many addresses as workers, all different."""
        if not self.addresses:
            return
        if self.count == 1:
            message = "`addresses` is for several workers: one listens on `listen.address`"
            raise ValueError(message)
        if len(self.addresses) != self.count:
            message = f"`addresses` names {len(self.addresses)} for {self.count} workers: name one for each"
            raise ValueError(message)
        parsed = [parse_address(address) for address in self.addresses]
        for place, address in enumerate(parsed):
            if any(_collide(address, other) for other in parsed[:place]):
                message = f"`addresses` names `{address}` more than once: every worker has its own"
                raise ValueError(message)


def worker_addresses(listen: str, options: WorkersOptions, admin: str) -> tuple[str, ...]:
    """Where each worker listens. Raises ValueError, which names the address that cannot be."""
    addresses = options.addresses or tuple(str(address) for address in _derived(parse_address(listen), options.count))
    taken = parse_address(admin)
    for place, address in enumerate(addresses):
        if _collide(parse_address(address), taken):
            message = (
                f"worker {place} would listen on `{address}`, which is `admin.address`: move that, or name every "
                f"worker's address in `workers.addresses`, such as {_free_of(addresses, taken)}"
            )
            raise ValueError(message)
    return addresses


def _derived(first: Address, count: int) -> list[Address]:
    """The rule that needs no list; one worker alone listens where a server without workers does."""
    if count == 1:
        return [first]
    if first.path:
        return [parse_address(f"unix:{first.path}.{place}") for place in range(count)]
    if not first.port:
        return [first] * count  # a free one for each
    if first.port + count - 1 > _MAX_PORT:
        message = f"{count} workers need the ports from {first.port} on: `{first}` leaves too few"
        raise ValueError(message)
    return [Address(first.host, first.port + place) for place in range(count)]


def _collide(one: Address, other: Address) -> bool:
    """Whether only one of them can be listened on."""
    if one.path or other.path:
        return one.path == other.path
    meet = one.host == other.host or bool({one.host, other.host} & _ANY)
    return meet and one.port == other.port != 0


def _free_of(addresses: Sequence[str], taken: Address) -> str:
    """An example that would do: the same ports without the one that is taken."""
    first = parse_address(addresses[0])
    ports = [port for port in range(first.port, first.port + len(addresses) + 1) if port != taken.port]
    return "[" + ", ".join(f'"{Address(first.host, port)}"' for port in ports[: len(addresses)]) + "]"
