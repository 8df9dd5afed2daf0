"""Calls over gRPC: the channel's settings, one request with its deadline and retries, and errors in our own words."""

import random
import time
from dataclasses import dataclass
from typing import Any

import grpc

from client import contract
from client.errors import STATUSES, ServerError
from client.proto import serving_pb2 as messages
from client.tls import Tls

RETRY_UNAVAILABLE = """{"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.1s",
 "maxBackoff": "1s", "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}}]}"""
OPTIONS = (
    ("grpc.service_config", RETRY_UNAVAILABLE),
    ("grpc.primary_user_agent", "mnist-digits"),
    ("grpc.enable_http_proxy", 0),  # http_proxy in the environment is for the web, not for a model server
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),  # gRPC's two minutes would outlast a server's restart
)
FIRST_PAUSE = 0.05
"""Seconds before a refused request is sent again, give or take half; doubled each time."""

PREDICT = f"/{contract.PREDICTION_SERVICE}/Predict"
METADATA = f"/{contract.PREDICTION_SERVICE}/GetModelMetadata"
STATUS = f"/{contract.MODEL_SERVICE}/GetModelStatus"
_RESPONSES: dict[str, Any] = {
    PREDICT: messages.PredictResponse,
    METADATA: messages.GetModelMetadataResponse,
    STATUS: messages.GetModelStatusResponse,
}


def open_channel(server: str, tls: Tls | None) -> grpc.Channel:
    """Open a channel to HOST:PORT, which connects with its first call. Raises UsageError for files of `tls`."""
    if tls:
        return grpc.secure_channel(server, tls.credentials(), OPTIONS)
    return grpc.insecure_channel(server, OPTIONS)


@dataclass(frozen=True)
class Peer:
    """Who is called, as error messages name it; `timeout` is in seconds."""

    server: str
    model: str
    timeout: float


class Call:
    """A request under way. `timeout` seconds are its deadline, and the time that `result` has for sending it again."""

    def __init__(self, channel: grpc.Channel, method: str, request: Any, peer: Peer) -> None:
        self._peer, self._request = peer, request
        self._method: grpc.UnaryUnaryMultiCallable[Any, Any] = channel.unary_unary(
            method, lambda message: message.SerializeToString(), _RESPONSES[method].FromString
        )
        self._future = self._method.future(request, timeout=peer.timeout)

    def result(self) -> Any:
        """Wait for the response. Raises the ServerError of the status; RESOURCE_EXHAUSTED is tried again first."""
        give_up, pause = time.monotonic() + self._peer.timeout, FIRST_PAUSE
        while True:
            try:
                return self._future.result()
            except grpc.RpcError as error:
                pause *= random.uniform(0.5, 1.5)
                left = give_up - time.monotonic() - pause
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED or left <= 0:
                    raise translate(error, self._peer) from error
            time.sleep(pause)
            self._future = self._method.future(self._request, timeout=left)
            pause *= 2

    def cancel(self) -> None:
        """Give the call up."""
        self._future.cancel()


def translate(error: Any, peer: Peer) -> ServerError:
    """Put a `grpc.RpcError` into our words: the class and the message of its status, with the server's details."""
    status, details = error.code().name, (error.details() or "no details").strip()
    kind, message = STATUSES[status]
    reason = details.rsplit(": ", 1)[-1]  # gRPC tells its whole way to "Connection refused (111)"
    values = {"server": peer.server, "model": peer.model, "timeout": peer.timeout}
    return kind(message.format(details=details, reason=reason, **values), status)
