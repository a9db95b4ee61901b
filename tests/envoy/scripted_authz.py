"""An authorization server that answers what a test tells it: shows what Envoy sends and does, not what we do."""

from collections.abc import Callable
from concurrent import futures

import grpc
from envoy.service.auth.v3 import external_auth_pb2 as auth
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVICE = "envoy.service.auth.v3.Authorization"
Script = Callable[[auth.CheckRequest], auth.CheckResponse]


def allow(_: auth.CheckRequest | None = None) -> auth.CheckResponse:
    """An allow in the shape that we emit: a status, and our word in the metadata."""
    response = auth.CheckResponse()
    response.status.code = 0
    response.ok_response.SetInParent()
    response.dynamic_metadata.update({"outcome": "allow", "reason": "policy_allowed", "decision_id": "d-1"})
    return response


def deny(_: auth.CheckRequest | None = None) -> auth.CheckResponse:
    """A denial with status 403."""
    response = auth.CheckResponse()
    response.status.code = 7
    response.denied_response.status.code = 403
    response.dynamic_metadata.update({"outcome": "deny", "reason": "policy_denied", "decision_id": "d-2"})
    return response


class ScriptedAuthz:
    """Listens on `port`; keeps every CheckRequest in `seen`."""

    def __init__(self, script: Script = allow) -> None:
        self.script = script
        self.seen: list[auth.CheckRequest] = []
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        check = grpc.unary_unary_rpc_method_handler(
            self._check,
            request_deserializer=auth.CheckRequest.FromString,
            response_serializer=auth.CheckResponse.SerializeToString,
        )
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {"Check": check})])
        servicer = health.HealthServicer()
        servicer.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def stop(self) -> None:
        self._server.stop(0).wait()

    def _check(self, request: auth.CheckRequest, _: grpc.ServicerContext) -> auth.CheckResponse:
        self.seen.append(request)
        return self.script(request)
