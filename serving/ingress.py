"""What runs in Ray Serve's gRPC servers: TensorFlow Serving's methods, answered by the replica of the same process.

Ray's HAProxy brings the calls here. A call is handed to the replica as Python objects: nothing is pickled on its way.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc_reflection.v1alpha.reflection import SERVICE_NAME

from client.contract import MODEL_SERVICE, PREDICTION_SERVICE
from serving import reflection
from serving.grpc_api import NOT_OFFERED, RELOAD

ANSWERED = (
    f"/{PREDICTION_SERVICE}/Predict",
    f"/{PREDICTION_SERVICE}/GetModelMetadata",
    f"/{MODEL_SERVICE}/GetModelStatus",
    f"/{reflection.HEALTH_SERVICE}/Check",
)
"""The methods that replicas answer, each by the method of its name."""
REFUSED = {f"/{PREDICTION_SERVICE}/{method}": reason for method, reason in NOT_OFFERED.items()} | {
    f"/{MODEL_SERVICE}/{RELOAD}": "A request reaches one replica of many. Change the file that --config names, or "
    "publish under the model root: every replica follows."
}

Call = tuple[bytes, float | None]
"""A message, and the seconds for which its caller waits; None for ever."""


def register(_: Any, server: Any) -> None:
    """Add the services to Ray's server; this is what `grpc_servicer_functions` names."""
    server.add_generic_rpc_handlers((Ingress(),))
    server.add_passthrough_service(SERVICE_NAME)  # answered here, from our own descriptors
    reflection.enable(server)


class Ingress(grpc.GenericRpcHandler):
    """Looks up the methods. Ray puts its own functions, which call the replica, into `_method_handlers`."""

    def __init__(self) -> None:
        unset: Any = grpc.unary_unary_rpc_method_handler(lambda message, context: None)
        self._method_handlers: dict[str, Any] = dict.fromkeys(ANSWERED, unset)

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Give the handler of a method."""
        method = details.method
        if method in REFUSED:
            return grpc.unary_unary_rpc_method_handler(_refusal(REFUSED[method]))
        if method in ANSWERED:
            return grpc.unary_unary_rpc_method_handler(_with_deadline(self._method_handlers[method].unary_unary))
        return None


def _with_deadline(ask: Callable[[Call, Any], Awaitable[bytes]]) -> Callable[[bytes, Any], Awaitable[bytes]]:
    async def handle(message: bytes, context: Any) -> bytes:
        return await ask((message, context.time_remaining()), context)  # Ray's own context does not tell it

    return handle


def _refusal(reason: str) -> Callable[[bytes, Any], Awaitable[None]]:
    async def refuse(message: bytes, context: Any) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, reason)

    return refuse
