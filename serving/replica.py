"""What runs in a Ray Serve replica: the embedded server's dataplane on the same model root, without TensorFlow."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from client.proto.serving_pb2 import GetModelMetadataRequest, GetModelStatusRequest, PredictRequest
from serving.catalog import Catalog, open_catalog
from serving.dataplane import Dataplane
from serving.errors import ServingError, too_late, truncated, unreadable
from serving.health import HEALTH_SERVICES
from serving.ingress import Call
from serving.monitor import Monitor
from serving.poller import FIRST_LOAD_SECONDS
from serving.settings import Settings


class Replica:
    """Answers the calls of ingress.ANSWERED. Loads, follows and swaps versions as the embedded server does.

    A new version is loaded beside the old one in every replica, so a change of versions stops nobody.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._catalog = open_catalog(settings)
        monitor = Monitor(self._catalog, settings.log)
        dataplane = Dataplane(self._catalog, settings.limits, monitor.ran)
        answers: dict[str, tuple[type[Any], Callable[..., Any]]] = {
            "Predict": (PredictRequest, dataplane.predict),
            "GetModelMetadata": (
                GetModelMetadataRequest,
                lambda asked, seconds_left: dataplane.get_model_metadata(asked),
            ),
            "GetModelStatus": (GetModelStatusRequest, lambda asked, seconds_left: dataplane.get_model_status(asked)),
            "Check": (HealthCheckRequest, lambda asked, seconds_left: check(self._catalog, asked)),
        }
        self._methods = {
            method: (request_type, monitor.watched("GRPC", method, answer))
            for method, (request_type, answer) in answers.items()
        }
        self._catalog.poll(FIRST_LOAD_SECONDS)
        threading.Thread(target=self._follow, name="follow", daemon=True).start()

    def Predict(self, call: Call, grpc_context: Any) -> "Answer":
        """Answer a call of this name, as the following do; `grpc_context` is Ray's."""
        return self._answer("Predict", call, grpc_context)

    def GetModelMetadata(self, call: Call, grpc_context: Any) -> "Answer":
        """Answer."""
        return self._answer("GetModelMetadata", call, grpc_context)

    def GetModelStatus(self, call: Call, grpc_context: Any) -> "Answer":
        """Answer."""
        return self._answer("GetModelStatus", call, grpc_context)

    def Check(self, call: Call, grpc_context: Any) -> "Answer":
        """Answer."""
        return self._answer("Check", call, grpc_context)

    def _answer(self, method: str, call: Call, grpc_context: Any) -> "Answer":
        try:
            return Answer(self._response(method, *call))
        except ServingError as error:
            grpc_context.set_code(grpc.StatusCode[error.status])
            grpc_context.set_details(truncated(str(error)))
            return Answer(b"")

    def _response(self, method: str, message: bytes, seconds_left: float | None) -> bytes:
        request_type, respond = self._methods[method]
        most = self._settings.limits.message_mib
        if len(message) > most << 20:
            raise ServingError("RESOURCE_EXHAUSTED", f"Message of {len(message)} bytes; {most} MiB are the most")
        if seconds_left is not None and seconds_left < 0:
            raise too_late()
        try:
            request = request_type.FromString(message)
        except DecodeError:
            raise unreadable() from None
        content: bytes = respond(request, seconds_left).SerializeToString()
        return content

    def _follow(self) -> None:
        while True:
            time.sleep(self._settings.poll_seconds)
            self._catalog.poll()


def check(catalog: Catalog, request: HealthCheckRequest) -> HealthCheckResponse:
    """Answer grpc.health.v1: SERVING while some version is available. Raises NOT_FOUND for a service not offered."""
    if request.service not in HEALTH_SERVICES:
        raise ServingError("NOT_FOUND", f"Unknown service {request.service}")
    serving = bool(catalog.served())
    return HealthCheckResponse(status=HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING)


@dataclass(frozen=True)
class Answer:
    """A response as bytes, with the method by which Ray serialises what a replica gives."""

    content: bytes

    def SerializeToString(self) -> bytes:
        """Give the bytes."""
        return self.content
