"""`digits serve --cluster`: the dataplane as Ray Serve replicas behind Ray's HAProxy, on the nodes of a cluster.

Every node needs this package with its extras `serving` and `cluster`, and sees the model root under the same path.
"""

import logging
import queue
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import grpc

from client.cluster import connected
from client.errors import DigitsError
from serving.reflection import HEALTH_SERVICE
from serving.settings import Settings

APPLICATION = "digits"
CALLS_A_REPLICA = 2
"""Calls that a replica is to have on the average: more bring further replicas, up to the most."""
START_SECONDS, STOP_SECONDS = 120.0, 30.0
MIB = 1 << 20
ENVIRONMENT = {
    # HAProxy (C) brings the calls to a gRPC server in the replica, in place of a proxy in Python and a pickled call.
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # All methods only read, so a call whose replica dies goes to another one, if HAProxy still holds all of it.
    "RAY_SERVE_HAPROXY_RETRY_ON": "all-retryable-errors",
    "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str(MIB // 4),
    "RAY_SERVE_HAPROXY_H2_FE_INITIAL_WINDOW_SIZE": str(MIB),
    "RAY_SERVE_HAPROXY_H2_BE_INITIAL_WINDOW_SIZE": str(MIB),
    "RAY_SERVE_HAPROXY_TIMEOUT_CONNECT_S": "1",  # a machine that is off does not even refuse
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",  # for each HTTP request: there is none
    "SERVE_SOCKET_REUSE_PORT_ENABLED": "1",  # several nodes on one machine share its ports
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",  # HAProxy hears within a fraction of it that a replica goes
    # On a busy machine a proxy takes more than Ray's five seconds to start, and would be started again and again.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "30",
}
"""What Ray Serve's processes read, on all nodes."""
PORTS = ("FALLBACK_PROXY_HTTP", "FALLBACK_PROXY_GRPC", "HAPROXY_STATS", "HAPROXY_METRICS")
"""Ports that Ray would have at fixed numbers; one of them is ours, 8500."""


def run(settings: Settings, address: str, replicas: tuple[int, int]) -> None:
    """Deploy on the cluster at an address (`auto`: the one of this machine) and stay until SIGTERM or SIGINT.

    So many replicas at least and at most. Raises DigitsError when there is no cluster or nobody answers.
    """
    from serving.linux import on_signal
    from serving.server import stopped

    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    with connected(address):
        on_signal(signals.put)
        with deployed(settings, replicas) as port:
            settings.log(f"listening on {settings.address(port)} (gRPC, and on every node with a replica)")
            settings.log(
                "warning: Ray and its replicas listen on every network, whatever --host says, which is only for the "
                "port above. Shut the others off by a firewall."
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
            http_options={"host": settings.host, "port": free_port()},  # nothing listens without; gRPC is on that host
            grpc_options={
                "port": port,
                "grpc_servicer_functions": ["serving.ingress.register"],
                "enable_reflection": False,  # the ingress answers it
            },
            controller_options={"runtime_env": {"env_vars": ENVIRONMENT | _ports()}},
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )
        serve.run(_application(settings, replicas), name=APPLICATION, route_prefix=f"/{APPLICATION}")
    except (RayError, RayServeException, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise DigitsError(f"Ray Serve does not take the application: {reason} Look at: serve status") from error
    try:
        _await_answer(settings.address(port))
        yield port
    finally:
        serve.delete(APPLICATION)
        if not serve.status().applications:  # others may use it too
            _shut_down()


def _shut_down() -> None:
    """Do what serve.shutdown() does, which waits in a call to the controller that Ray then reports as a failed one."""
    import ray

    with suppress(ValueError):  # there is no such actor any more
        controller = ray.get_actor("SERVE_CONTROLLER_ACTOR", namespace="serve")
        ray.get(controller.graceful_shutdown.remote(wait=False))
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and ray.get_actor("SERVE_CONTROLLER_ACTOR", namespace="serve"):
            time.sleep(0.1)


def _application(settings: Settings, replicas: tuple[int, int]) -> Any:
    from ray import serve

    from serving.replica import Replica

    least, most = replicas
    return serve.deployment(
        Replica,
        ray_actor_options={"num_cpus": 1},
        max_ongoing_requests=settings.limits.threads,
        max_queued_requests=settings.limits.threads,
        autoscaling_config={
            "min_replicas": least,
            "max_replicas": most,
            "target_ongoing_requests": CALLS_A_REPLICA,
            "upscale_delay_s": 5,
            "downscale_delay_s": 60,
        },
        graceful_shutdown_timeout_s=settings.drain_seconds,
    ).bind(settings)


def _ports() -> dict[str, str]:
    return {f"RAY_SERVE_{name}_PORT": str(free_port()) for name in PORTS}


def free_port() -> int:
    """Find a port that nobody has; Ray takes no 0."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def _await_answer(address: str) -> None:
    """Wait until a replica answers: HAProxy listens before it knows of any."""
    deadline = time.monotonic() + START_SECONDS
    with grpc.insecure_channel(address) as channel:
        check: Any = channel.unary_unary(f"/{HEALTH_SERVICE}/Check")
        while True:
            try:
                check(b"", timeout=deadline - time.monotonic(), wait_for_ready=True)
                return
            except grpc.RpcError:
                if time.monotonic() > deadline:
                    raise DigitsError(
                        f"Ray Serve does not answer on {address}. Does it run there with other options? "
                        "Look at: serve status"
                    ) from None
            time.sleep(0.1)
