"""A Ray cluster: how a process of ours connects with it. Ray is imported here and nowhere before."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from client.console import require
from client.errors import DigitsError
from client.stderr import own_stderr, silenced_stderr

NAMESPACE = "digits"
REACH_SECONDS = 5.0


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Connect with the cluster at an address (`auto`: this machine's) while the block lasts; yields Ray.

    Raises DigitsError without Ray or a cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    require("cluster", "ray")
    import ray

    with _quiet_core():
        try:
            yield _connect(ray, address)
        finally:
            ray.shutdown()


def _connect(ray: Any, address: str) -> Any:
    try:
        if ":" in (found := _resolve(address)):
            host, _, port = found.rpartition(":")
            socket.create_connection((host, int(port)), REACH_SECONDS).close()  # Ray itself would wait for minutes
        ray.init(address=address, namespace=NAMESPACE, logging_level="ERROR", log_to_driver=False)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DigitsError(
            f"no Ray cluster at {address}: {reason.rstrip('.')}. Start one with: ray start --head"
        ) from None
    return ray


def _resolve(address: str) -> str:
    """Give what `auto` stands for: RAY_ADDRESS, or what `ray start` left in a file, where a killed cluster still is."""
    left = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", "ray_current_cluster")
    if address != "auto":
        return address
    return os.environ.get("RAY_ADDRESS") or (left.read_text().strip() if left.exists() else address)


@contextmanager
def _quiet_core() -> Iterator[None]:
    """Send nowhere what Ray's C++ core prints on stderr's descriptor; Python's stderr has one of its own meanwhile."""
    shown = sys.stderr
    own_stderr()
    try:
        with silenced_stderr():
            yield
    finally:
        sys.stderr.close()
        sys.stderr = shown
