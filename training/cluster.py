"""`digits train --cluster`: each training or export as a task on a Ray cluster, where `workers` has a process for it.

All nodes see the folders of runs and models under the same paths. A task whose node dies is given to another one, where
a training goes on after its last epoch.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from client.cluster import connected
from client.errors import UsageError
from training.workers import Done, Failed, Runner, Task, attempt

TRIES_AGAIN = 5
"""How often a task may lose its node."""
LOOK_SECONDS = 0.2


@contextmanager
def runner_on(address: str, device: str) -> Iterator[Runner]:
    """Give what runs tasks on a cluster while the block lasts; each has a CPU, and a GPU where there are any.

    Raises DigitsError without a cluster, UsageError when a GPU is asked for and no node has one.
    """
    with connected(address) as ray:
        gpus = 0 if device == "cpu" else min(1, int(ray.cluster_resources().get("GPU", 0)))
        if device == "gpu" and not gpus:  # Ray would wait for one
            raise UsageError(f"no GPU in the cluster at {address}. Train with --device cpu, or add a node with one.")
        # A fresh process for each, as workers has: TensorFlow's memory and seeds are its own.
        resources = {"num_cpus": 1, "num_gpus": gpus, "max_calls": 1, "max_retries": TRIES_AGAIN}
        yield partial(run, ray, resources)


def run(ray: Any, resources: dict[str, Any], tasks: Iterable[tuple[str, Task, Path]], parallel: int) -> Iterator[Any]:
    """Run (name, task, log file) at most `parallel` at once; yield what they report, and Done or Failed for each.

    Leaving the iterator early, by Ctrl-C too, ends the tasks that are still running.
    """
    told = _queue(ray)
    work = ray.remote(**resources)(_work)
    waiting, running = deque(tasks), dict[Any, tuple[str, Path]]()
    try:
        while waiting or running:
            while waiting and len(running) < parallel:
                name, task, log = waiting.popleft()
                running[work.remote(name, task, log, told)] = name, log
            landed, _ = ray.wait(list(running), timeout=LOOK_SECONDS)
            yield from told.get_nowait_batch(told.qsize())
            for reference in landed:
                yield _outcome(ray, reference, *running.pop(reference))
    finally:
        for reference in running:
            ray.cancel(reference, force=True)
        told.shutdown(force=True)


def _queue(ray: Any) -> Any:
    """Make the queue for progress here, where it dies with nobody but us."""
    from ray.util.queue import Queue
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})


def _work(name: str, task: Task, log: Path, told: Any) -> Done | Failed:
    return attempt(name, task, log, told.put)


def _outcome(ray: Any, reference: Any, name: str, log: Path) -> Done | Failed:
    try:
        outcome: Done | Failed = ray.get(reference)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[0]
        return Failed(name, f"{name}: {reason} See {log}, and run the same command: it goes on from there.", 1)
    return outcome
