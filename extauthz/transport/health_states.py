"""grpc.health.v1 as bytes: for the whole server ("") and for the Authorization service by its full name."""

from grpc_health.v1 import health_pb2

from extauthz.transport.contract import SERVICE

HEALTH_SERVICE = "grpc.health.v1.Health"
HEALTH_CHECK, HEALTH_WATCH = f"/{HEALTH_SERVICE}/Check", f"/{HEALTH_SERVICE}/Watch"
_NAMES = frozenset({"", SERVICE})


def _encode(status: str) -> bytes:
    encoded: bytes = health_pb2.HealthCheckResponse(status=status).SerializeToString()
    return encoded


_SERVING, _NOT_SERVING, _UNKNOWN = (_encode(status) for status in ("SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"))


def service_name(raw: bytes) -> str:
    """Which service a HealthCheckRequest is about. Raises google.protobuf's DecodeError."""
    name: str = health_pb2.HealthCheckRequest.FromString(raw).service
    return name


def is_known(service: str) -> bool:
    """Whether it is one of ours; Check answers NOT_FOUND for others, Watch goes on."""
    return service in _NAMES


def status(service: str, serving: bool) -> bytes:  # noqa: FBT001 - a state, not a switch
    """A HealthCheckResponse, encoded."""
    if service not in _NAMES:
        return _UNKNOWN
    return _SERVING if serving else _NOT_SERVING
