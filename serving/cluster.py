"""`digits serve --cluster`: the dataplane as Ray Serve replicas behind Ray's gRPC proxies, on the nodes of a cluster.

Every node needs this package with its extras `serving` and `cluster`, and sees the model root under the same path.
"""

import logging
import queue
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from client.cluster import connected
from client.errors import DigitsError
from serving.ingress import APPLICATION
from serving.settings import Settings

CALLS_A_REPLICA = 2
"""Ray calls that a replica is to have on the average: more bring further replicas, up to the most."""
START_SECONDS = 120.0
PATIENCE = {"RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60", "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "30"}
"""On a busy machine a proxy takes more than Ray's five seconds to start, and would be started again and again."""


def run(settings: Settings, address: str, replicas: tuple[int, int]) -> None:
    """Deploy on the cluster at an address (`auto`: the one of this machine) and stay until SIGTERM or SIGINT.

    So many replicas at least and at most. Raises DigitsError when there is no cluster or the proxies do not answer.
    """
    from serving.server import on_signal, stopped

    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    with connected(address):
        on_signal(signals.put)
        with deployed(settings, replicas) as port:
            settings.log(f"listening on 127.0.0.1:{port} (gRPC, and on every node with a replica)")
            settings.log(
                "warning: Ray listens on every network, whatever --host says. Shut the port off by a firewall."
            )
            while not stopped(signals, 3600):
                pass
            settings.log("stopping: finishing the calls in flight")


@contextmanager
def deployed(settings: Settings, replicas: tuple[int, int]) -> Iterator[int]:
    """Serve on the connected cluster while the block lasts; yields the gRPC port. Raises DigitsError."""
    from ray import serve
    from ray.exceptions import RayError
    from ray.serve.exceptions import RayServeException

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    port = settings.port or free_port()
    try:
        serve.start(
            proxy_location="EveryNode",
            http_options={"host": "127.0.0.1", "port": free_port()},  # Ray has no proxy without it
            grpc_options={
                "port": port,
                "grpc_servicer_functions": ["serving.ingress.register"],
                "enable_reflection": False,  # the ingress answers it
            },
            controller_options={"runtime_env": {"env_vars": PATIENCE}},
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )
        serve.run(_application(settings, replicas), name=APPLICATION, route_prefix=f"/{APPLICATION}")
    except (RayError, RayServeException, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise DigitsError(f"Ray Serve does not take the application: {reason} Look at: serve status") from error
    try:
        _await_proxy(port)
        yield port
    finally:
        serve.delete(APPLICATION)
        if not serve.status().applications:  # others may use it too
            serve.shutdown()


def _application(settings: Settings, replicas: tuple[int, int]) -> Any:
    from ray import serve

    from serving.replica import Replica

    least, most = replicas
    return serve.deployment(
        Replica,
        ray_actor_options={"num_cpus": 1},
        max_ongoing_requests=4 * CALLS_A_REPLICA,
        autoscaling_config={
            "min_replicas": least,
            "max_replicas": most,
            "target_ongoing_requests": CALLS_A_REPLICA,
            "upscale_delay_s": 5,
            "downscale_delay_s": 60,
        },
        graceful_shutdown_timeout_s=settings.drain_seconds,
    ).bind(settings)


def free_port() -> int:
    """Find a port that nobody has; Ray takes no 0."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def _await_proxy(port: int) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            grpc.channel_ready_future(channel).result(START_SECONDS)
        except grpc.FutureTimeoutError:
            raise DigitsError(
                f"Ray Serve's proxy does not answer on port {port}. Does Ray Serve run there with other options? "
                "Look at: serve status"
            ) from None
