"""The embedded server: binds, loads, answers, follows what is published, and drains when it is told to stop."""

import math
import os
import queue
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # the core's own lines; what matters to operators comes from here

import grpc
from grpc_health.v1 import health_pb2_grpc

from client.stderr import own_stderr
from serving import linux, reflection
from serving.announcement import announcement
from serving.catalog import open_catalog
from serving.dataplane import Dataplane
from serving.grpc_api import handlers
from serving.health import Health
from serving.http_server import HttpServer
from serving.monitor import Monitor
from serving.poller import FIRST_LOAD_SECONDS, Poller
from serving.reader import Reader
from serving.rest_api import RestApi
from serving.settings import Settings, cannot_listen
from serving.tls import Certificates

Stop = queue.SimpleQueue[int]
"""Where the number of the signal arrives that ends a server."""


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish the calls in flight; a second signal leaves at once.

    Raises DigitsError when the folder or configuration cannot be read or an address cannot be used.
    """
    stop = Stop()

    def receive(number: int) -> None:
        stop.put(number)
        linux.on_signal(lambda number: os._exit(128 + number))

    linux.on_signal(receive)

    def announce(lines: list[str]) -> None:
        for line in lines:
            settings.log(line)

    serve(settings, stop, announce)


def serve(settings: Settings, stop: Stop, ready: Callable[[list[str]], None]) -> None:
    """Serve, call `ready` with what is to be announced, and finish the calls in flight when told to stop."""
    own_stderr()
    linux.settle()
    certificates = Certificates(*settings.tls, settings.log) if settings.tls else None
    catalog, status, reader = open_catalog(settings), Health(), Reader(settings.limits.read_seconds)
    monitor = Monitor(catalog, settings.log, settings.process)
    dataplane, poller = Dataplane(catalog, settings.limits, monitor.ran), Poller(catalog, status)
    if settings.process is not None:  # load first: a connection that comes to a port here could have another's answer
        _load(poller, stop)
    with (
        _bound(settings, certificates, dataplane, monitor, status, reader) as (server, port),
        _rest(settings, certificates, dataplane, monitor) as rest,
    ):
        _load(poller, stop)
        server.start()
        if rest:
            _start(rest, settings)
        ready(announcement(settings, catalog.served(), port, rest.port if rest else None))
        while not stopped(stop, settings.poll_seconds):
            poller.begin()
        settings.log("stopping: finishing the calls in flight")
        status.leave()
        end = time.monotonic() + settings.drain_seconds
        reader.leave(settings.drain_seconds / 2)
        drained = server.stop(max(0, end - time.monotonic()))
        if rest:
            rest.stop(max(0, end - time.monotonic()))
        drained.wait()


def stopped(stop: Stop, wait_seconds: float) -> bool:
    """Wait for a signal; tell whether one has come."""
    try:
        stop.get(timeout=wait_seconds)
    except queue.Empty:
        return False
    return True


@contextmanager
def _bound(
    settings: Settings,
    certificates: Certificates | None,
    dataplane: Dataplane,
    monitor: Monitor,
    status: Health,
    reader: Reader,
) -> Iterator[tuple[grpc.Server, int]]:
    """Make a server that listens but does not answer yet; yields it with its port."""
    limits = settings.limits
    server = grpc.server(
        futures.ThreadPoolExecutor(limits.threads, "grpc"),
        handlers=handlers(dataplane, monitor, reader, alone=settings.process is None),
        interceptors=[reader],
        maximum_concurrent_rpcs=limits.threads,  # nothing waits for a thread
        options=[
            # A port in use is an error, not a second server that takes half the calls, unless that is what is wanted.
            ("grpc.so_reuseport", int(settings.process is not None)),
            ("grpc.max_receive_message_length", limits.message_mib << 20),
            ("grpc.max_send_message_length", -1),
            *_ages(settings.connection_seconds),
        ],
    )
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    reflection.enable(server)
    address = settings.address(settings.port)
    try:
        if certificates:
            port = server.add_secure_port(address, certificates.for_grpc())
        else:
            port = server.add_insecure_port(address)
    except RuntimeError:
        raise cannot_listen(address, "--port") from None
    try:
        yield server, port
    finally:
        server.stop(None)


def _ages(connection_seconds: float | None) -> list[tuple[str, int]]:
    """End a connection at that age: its calls under way end where they began, as no grace is set."""
    return [("grpc.max_connection_age_ms", math.ceil(connection_seconds * 1000))] if connection_seconds else []


@contextmanager
def _rest(
    settings: Settings, certificates: Certificates | None, dataplane: Dataplane, monitor: Monitor
) -> Iterator[HttpServer | None]:
    """Make the REST server, if one is wanted, with its port but not listening yet."""
    if settings.rest_port is None:
        yield None
        return
    api = RestApi(dataplane, monitor, settings.limits, settings.rest_timeout_seconds)
    context = certificates.for_http() if certificates else None
    try:
        rest = HttpServer(
            api, settings.host, settings.rest_port, settings.log, context, shared=settings.process is not None
        )
    except OSError:
        raise cannot_listen(settings.address(settings.rest_port), "--rest-port") from None
    try:
        yield rest
    finally:
        rest.stop(0)


def _start(rest: HttpServer, settings: Settings) -> None:
    try:
        rest.start()
    except OSError:
        raise cannot_listen(settings.address(rest.port), "--rest-port") from None


def _load(poller: Poller, stop: Stop) -> None:
    """Load what there is, unless the server is told to stop meanwhile."""
    first, end = poller.begin(FIRST_LOAD_SECONDS), time.monotonic() + FIRST_LOAD_SECONDS
    while first.is_alive() and stop.empty() and time.monotonic() < end:  # a root that hangs keeps to no time
        first.join(0.01)
