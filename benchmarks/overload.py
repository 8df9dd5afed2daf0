"""Overload: four times the requests that the server can answer, arriving whether it answers or not.

    python -m benchmarks.overload [--models models] [--model digits] [--images 256] [--wait-seconds 0.01]

For the server's own limit and each other one (`digits serve --max-wait-seconds`): p99 and rate of one request at a
time; at four times the rate, p99 of the accepted ones, how many were refused and how soon; and p99 of one request at a
time right after. The server has the first core, the load the last one. The last line is JSON.
"""

import argparse
import json
import os
import statistics
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import grpc
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.servers import running
from benchmarks.wires import predict_request
from client.contract import PREDICTION_SERVICE
from client.tensors import Array

METHOD = f"/{PREDICTION_SERVICE}/Predict"
FACTOR = 4
WARM_UP = 20


@dataclass
class Outcomes:
    """Latencies in milliseconds of the answered and of the refused calls."""

    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    def add(self, call: "grpc.Future", start: float) -> None:
        """Note a finished call. Raises grpc.RpcError for a failure that is no refusal."""
        latency = (time.perf_counter() - start) * 1000
        if call.code() is grpc.StatusCode.OK:
            self.answered.append(latency)
        elif call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            self.refused.append(latency)
        else:
            call.result()


@dataclass(frozen=True)
class Figures:
    """What a limit did: milliseconds, and requests a second."""

    wait_seconds: float | str
    unloaded_p99: float
    capacity: float
    offered: float
    accepted: float
    accepted_p99: float
    refused: float
    refused_p99: float
    after_p99: float


def p99(latencies: list[float]) -> float:
    """Give the 99th percentile; nan of fewer than two."""
    return statistics.quantiles(latencies, n=100)[98] if len(latencies) > 1 else float("nan")


def closed(channel: grpc.Channel, request: bytes, in_flight: int, seconds: float) -> Outcomes:
    """Keep so many requests in flight."""
    outcomes, end, lock = Outcomes(), time.perf_counter() + seconds, threading.Lock()
    call = channel.unary_unary(METHOD)

    def ask() -> None:
        while (start := time.perf_counter()) < end:
            future = call.future(request)
            future.exception()
            with lock:
                outcomes.add(future, start)

    threads = [threading.Thread(target=ask) for _ in range(in_flight)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def opened(channel: grpc.Channel, request: bytes, rate: float, seconds: float) -> tuple[Outcomes, float]:
    """Send requests at a rate, answered or not; gives the rate that was really reached too."""
    outcomes, calls, call = Outcomes(), [], channel.unary_unary(METHOD)
    begin = time.perf_counter()
    while (now := time.perf_counter()) < begin + seconds:
        if len(calls) < (now - begin) * rate:
            future = call.future(request)
            future.add_done_callback(lambda future, start=now: outcomes.add(future, start))
            calls.append(future)
        else:
            time.sleep(0.0005)
    reached = len(calls) / (time.perf_counter() - begin)
    for future in calls:
        future.exception()
    return outcomes, reached


def measure(models: Path, model: str, images: Array, wait_seconds: float | None, seconds: float) -> Figures:
    """Start a server with the limit, or its own without one, and load it."""
    options = ["--models", str(models), "--model-name", model, "--port", "0"]
    options += [] if wait_seconds is None else ["--max-wait-seconds", str(wait_seconds)]
    request, cores = predict_request(model, images), sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})
    with running("serving", "serve", *options) as server, grpc.insecure_channel(server.address) as channel:
        for thread in (int(task.name) for task in Path("/proc/self/task").iterdir()):
            os.sched_setaffinity(thread, {cores[-1]})
        for _ in range(WARM_UP):
            channel.unary_unary(METHOD)(request)
        unloaded = closed(channel, request, 1, seconds)
        capacity = len(unloaded.answered) / seconds
        over, offered = opened(channel, request, FACTOR * capacity, seconds)
        after = closed(channel, request, 1, seconds)
    os.sched_setaffinity(0, cores)
    return Figures(
        wait_seconds="default" if wait_seconds is None else wait_seconds,
        unloaded_p99=p99(unloaded.answered),
        capacity=capacity,
        offered=offered,
        accepted=len(over.answered) / seconds,
        accepted_p99=p99(over.answered),
        refused=len(over.refused) / seconds,
        refused_p99=p99(over.refused),
        after_p99=p99(after.answered),
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--models", type=Path, default=Path("models"))
    options.add_argument("--model", default="digits")
    options.add_argument("--images", type=int, default=256)
    options.add_argument("--wait-seconds", type=float, nargs="+", default=[0.01])
    options.add_argument("--seconds", type=float, default=5)
    given = options.parse_args()
    images = np.random.default_rng(0).integers(0, 256, (given.images, 28, 28), np.uint8)
    figures = [
        measure(given.models, given.model, images, limit, given.seconds) for limit in [None, *given.wait_seconds]
    ]
    table = Table(*(name.replace("_", " ") for name in asdict(figures[0])), box=None)
    for row in figures:
        table.add_row(*(f"{value:,.4g}" if isinstance(value, float) else str(value) for value in asdict(row).values()))
    Console(soft_wrap=True).print(table)
    print(json.dumps({"figures": [asdict(row) for row in figures], "machine": machine.describe()}))


if __name__ == "__main__":
    main()
