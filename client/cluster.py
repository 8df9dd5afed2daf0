"""A Ray cluster: how a process of ours connects with it. Ray is imported here and nowhere before."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from client.errors import DigitsError

NAMESPACE = "digits"


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Connect with the cluster at an address (`auto`: this machine's) while the block lasts; yields Ray.

    Raises DigitsError without Ray or a cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # the core's own lines on stderr
    try:
        import ray
    except ModuleNotFoundError:
        raise DigitsError("ray is not installed. Run: pip install 'mnist-digits[cluster]'") from None
    try:
        ray.init(address=address, namespace=NAMESPACE, logging_level="ERROR", log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DigitsError(f"no Ray cluster at {address}: {reason} Start one with: ray start --head") from None
    try:
        yield ray
    finally:
        ray.shutdown()
