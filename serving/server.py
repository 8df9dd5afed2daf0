"""The embedded server: binds, loads, answers, follows what is published, and drains when it is told to stop."""

import os
import queue
import signal
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # the core's own lines; what matters to operators comes from here

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from client.contract import MODEL, MODEL_SERVICE, PREDICTION_SERVICE
from client.errors import DigitsError
from serving import versions
from serving.catalog import Catalog
from serving.dataplane import Dataplane
from serving.grpc_api import handlers
from serving.http_server import HttpServer
from serving.logs import Log
from serving.monitor import Monitor
from serving.rest_api import RestApi
from serving.tls import Certificates, exposure

THREADS = 8
"""Enough to keep the engine busy, few enough not to fight over Python's lock."""
HEALTH_SERVICES = ("", PREDICTION_SERVICE, MODEL_SERVICE, "PredictionService", "ModelService")
"""What grpc.health.v1 can be asked for; TensorFlow Serving uses the short names."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to serve: the model root, where to listen (port 0: any free one; no REST without one), times in seconds."""

    models: Path
    host: str
    port: int
    rest_port: int | None
    rest_timeout_seconds: float
    poll_seconds: float
    drain_seconds: float
    certificates: Certificates | None
    log: Log


class Health(health.HealthServicer):
    """grpc.health.v1: SERVING while some version is available; watchers are let go of when the server stops."""

    def __init__(self) -> None:
        super().__init__()
        self._watchers: set[grpc.ServicerContext] = set()
        self._serving: bool | None = None
        self.update(serving=False)

    def Watch(self, request: Any, context: grpc.ServicerContext, send_response_callback: Any = None) -> Any:
        """Send the status now and at every change."""
        self._watchers.add(context)
        context.add_callback(lambda: self._watchers.discard(context))
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


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish the calls in flight; a second signal leaves at once.

    Raises DigitsError when the folder cannot be read or the address cannot be used.
    """
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    _on_signal(signals.put)
    _check_readable(settings.models)
    catalog, status = Catalog(settings.models, settings.log), Health()
    monitor = Monitor(catalog, settings.log)
    dataplane = Dataplane(catalog, monitor.ran)
    with _bound(settings, dataplane, monitor, status) as (server, port), _rest(settings, dataplane, monitor) as rest:
        _poll(catalog, status)
        server.start()
        if rest:
            rest.start()
        _announce(settings, catalog, port, rest.port if rest else None)
        while not _stopped(signals, settings.poll_seconds):
            _poll(catalog, status)
        _on_signal(lambda number: os._exit(128 + number))
        settings.log("stopping: finishing the calls in flight")
        status.leave()
        stopped = server.stop(settings.drain_seconds)
        if rest:
            rest.stop(settings.drain_seconds)
        stopped.wait()


def _on_signal(act: Any) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: act(received))


def _stopped(signals: "queue.SimpleQueue[int]", wait_seconds: float) -> bool:
    try:
        signals.get(timeout=wait_seconds)
    except queue.Empty:
        return False
    return True


def _check_readable(models: Path) -> None:
    try:
        os.scandir(models).close()
    except FileNotFoundError:
        pass  # to come, with the first training
    except OSError as error:
        raise DigitsError(
            f"{models}: {error.strerror}. Give the folder that holds the models, for example: digits serve --models "
            f"models"
        ) from None


@contextmanager
def _bound(
    settings: Settings, dataplane: Dataplane, monitor: Monitor, status: Health
) -> Iterator[tuple[grpc.Server, int]]:
    """Make a server that listens but does not answer yet; yields it with its port."""
    server = grpc.server(
        futures.ThreadPoolExecutor(THREADS, "grpc"),
        handlers=handlers(dataplane, monitor),
        options=[
            ("grpc.so_reuseport", 0),  # a port in use is an error, not a second server that takes half the calls
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
        ],
    )
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    address = _address(settings.host, settings.port)
    try:
        if settings.certificates:
            port = server.add_secure_port(address, settings.certificates.for_grpc())
        else:
            port = server.add_insecure_port(address)
    except RuntimeError:
        raise _cannot_listen(address, "--port") from None
    try:
        yield server, port
    finally:
        server.stop(None)


@contextmanager
def _rest(settings: Settings, dataplane: Dataplane, monitor: Monitor) -> Iterator[HttpServer | None]:
    """Make the REST server, if one is wanted, with its port but not listening yet."""
    if settings.rest_port is None:
        yield None
        return
    api = RestApi(dataplane, monitor, settings.rest_timeout_seconds)
    context = settings.certificates.for_http() if settings.certificates else None
    try:
        rest = HttpServer(api, settings.host, settings.rest_port, context)
    except OSError:
        raise _cannot_listen(_address(settings.host, settings.rest_port), "--rest-port") from None
    try:
        yield rest
    finally:
        rest.stop(0)


def _cannot_listen(address: str, option: str) -> DigitsError:
    return DigitsError(
        f"cannot listen on {address}: the port is in use or the address is not this machine's. "
        f"Choose another with {option} (0: any free one) or --host."
    )


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _poll(catalog: Catalog, status: Health) -> None:
    catalog.poll()
    status.update(serving=bool(catalog.served()))


def _announce(settings: Settings, catalog: Catalog, port: int, rest_port: int | None) -> None:
    tls = settings.certificates.describe() if settings.certificates else ""
    for protocol, number in (("gRPC", port), ("REST", rest_port)):
        if number is not None:
            settings.log(f"listening on {_address(settings.host, number)} ({protocol}{tls})")
    if warning := exposure(settings.host, settings.certificates):
        settings.log(warning)
    served = catalog.served()
    if MODEL not in served:
        settings.log(_what_to_do(settings.models, sorted(served)))
        return
    everywhere = settings.host in ("0.0.0.0", "::")
    address = _address("127.0.0.1" if everywhere else settings.host, port)
    trust = " --ca CA.pem" if tls else ""
    settings.log(f"try it: digits samples samples && digits classify samples/*.png --server {address}{trust}")


def _what_to_do(models: Path, served: list[str]) -> str:
    if versions.latest_version(models):
        return f"no model in {models}, which holds versions itself. Give the folder above it: --models {models.parent}"
    step = f"digits promote {served[0]}" if served else f"digits train --models {models}"
    others = f" Serving {', '.join(served)}." if served else ""
    return f"no model '{MODEL}' in {models} yet: run '{step}', and it is picked up.{others}"
