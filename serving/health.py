"""grpc.health.v1, which load balancers and Kubernetes ask, following whether any model is served."""

from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2

from client.contract import MODEL_SERVICE, PREDICTION_SERVICE
from serving.reader import keep

HEALTH_SERVICES = ("", PREDICTION_SERVICE, MODEL_SERVICE, "PredictionService", "ModelService")
"""What grpc.health.v1 can be asked for; TensorFlow Serving uses the short names."""


class Health(health.HealthServicer):
    """grpc.health.v1: SERVING while some version is available; watchers are let go of when the server stops."""

    def __init__(self) -> None:
        super().__init__()
        self._watchers: set[grpc.ServicerContext] = set()
        self._serving: bool | None = None
        self.update(serving=False)

    def Watch(self, request: Any, context: grpc.ServicerContext, send_response_callback: Any = None) -> Any:
        """Send the status now and at every change."""
        if not context.is_active():
            return iter(())
        keep(context, self._watchers)
        return super().Watch(request, context, send_response_callback)

    def update(self, *, serving: bool) -> None:
        """Set every service's status; watchers hear of it only when it is another one."""
        if serving == self._serving:
            return
        self._serving = serving
        status = health_pb2.HealthCheckResponse
        for service in HEALTH_SERVICES:
            self.set(service, status.SERVING if serving else status.NOT_SERVING)

    def leave(self) -> None:
        """Tell everybody NOT_SERVING for good and end the watchers' calls, which would hold up the stop."""
        self.enter_graceful_shutdown()
        for context in list(self._watchers):
            context.cancel()
