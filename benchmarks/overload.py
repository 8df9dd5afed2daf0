"""Overload: four times the requests that one caller at a time can have answered, sent whether they are answered or not.

    python -m benchmarks.overload [--models models] [--model digits] [--images 256] [--wait-seconds 0.02]

For the server's own limit and each other one (`digits serve --max-wait-seconds`): p99 and rate of one request at a
time; then, beside h2load (Debian: nghttp2-client) at four times that rate, what a caller sees who asks again and again:
how many are let in, how long they take, and how soon the others are refused; and p99 right after. The server has the
first core, the load and the caller the last one. The last line is JSON.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import grpc
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.load import GENERATOR, GRPC_HEADERS, framed
from benchmarks.servers import running
from benchmarks.wires import predict_request
from client.questions import PREDICT
from client.tensors import Array

FACTOR = 4
CONNECTIONS, STREAMS = 8, 200
WARM_UP_SECONDS = 0.5
REFUSED = {"RESOURCE_EXHAUSTED", "CANCELLED"}
"""By our server, or by gRPC's core, when 1,000 calls wait for the server to take them in."""
PAUSE_SECONDS = 0.005
"""Between two requests of the caller, so that it adds little to the load."""


@dataclass
class Outcomes:
    """Latencies in milliseconds of the answered and of the refused calls."""

    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Figures:
    """What a limit did: milliseconds, and requests a second."""

    wait_seconds: float | str
    unloaded_p99: float
    offered: float
    let_in: float
    let_in_p50: float
    let_in_p99: float
    refused_p50: float
    refused_p99: float
    after_p99: float


def percentile(latencies: list[float], percent: int) -> float:
    """Give a percentile; nan of fewer than two."""
    return statistics.quantiles(latencies, n=100)[percent - 1] if len(latencies) > 1 else float("nan")


def ask(channel: grpc.Channel, request: bytes, seconds: float, pause_seconds: float = 0) -> Outcomes:
    """Ask one at a time. Raises grpc.RpcError for a failure that is no refusal."""
    outcomes, end = Outcomes(), time.perf_counter() + seconds
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PREDICT)
    while (start := time.perf_counter()) < end:
        kept = outcomes.answered
        try:
            call(request)
        except grpc.RpcError as error:
            if error.code().name not in REFUSED:
                raise
            kept = outcomes.refused
        kept.append((time.perf_counter() - start) * 1000)
        time.sleep(pause_seconds)
    return outcomes


@contextmanager
def flood(address: str, request: bytes, rate: float, seconds: float) -> Iterator[None]:
    """Let h2load send requests at a rate while the block lasts. Raises CalledProcessError when it fails."""
    with tempfile.TemporaryDirectory() as folder:
        body = Path(folder, "request")
        body.write_bytes(framed(request))
        command = ["h2load", f"http://{address}{PREDICT}", "-c", str(CONNECTIONS), "-m", str(STREAMS), "-d", str(body)]
        command += ["--rps", f"{rate / CONNECTIONS:.3f}", "-D", f"{seconds * 1000:.0f}ms"]
        command += GRPC_HEADERS
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as load:
            yield
        if load.returncode:
            raise subprocess.CalledProcessError(load.returncode, command)


def measure(models: Path, model: str, images: Array, wait_seconds: float | None, seconds: float) -> Figures:
    """Start a server with the limit, or its own without one, and load it."""
    options = ["--models", str(models), "--model-name", model, "--port", "0"]
    options += [] if wait_seconds is None else ["--max-wait-seconds", str(wait_seconds)]
    request, cores = predict_request(model, images), sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})
    with running("serving", "serve", *options) as server, grpc.insecure_channel(server.address) as channel:
        for thread in (int(task.name) for task in Path("/proc/self/task").iterdir()):
            os.sched_setaffinity(thread, {cores[-1]})
        ask(channel, request, WARM_UP_SECONDS)
        alone = len(ask(channel, request, seconds).answered) / seconds
        unloaded = ask(channel, request, seconds, PAUSE_SECONDS)
        with flood(server.address, request, FACTOR * alone, seconds + 2):
            time.sleep(1)
            over = ask(channel, request, seconds, PAUSE_SECONDS)
        after = ask(channel, request, seconds, PAUSE_SECONDS)
    os.sched_setaffinity(0, cores)
    return Figures(
        wait_seconds="default" if wait_seconds is None else wait_seconds,
        unloaded_p99=percentile(unloaded.answered, 99),
        offered=FACTOR * alone,
        let_in=len(over.answered) / len(over.answered + over.refused),
        let_in_p50=percentile(over.answered, 50),
        let_in_p99=percentile(over.answered, 99),
        refused_p50=percentile(over.refused, 50),
        refused_p99=percentile(over.refused, 99),
        after_p99=percentile(after.answered, 99),
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--models", type=Path, default=Path("models"))
    options.add_argument("--model", default="digits")
    options.add_argument("--images", type=int, default=256)
    options.add_argument("--wait-seconds", type=float, nargs="*", default=[])
    options.add_argument("--seconds", type=float, default=10)
    given = options.parse_args()
    if GENERATOR != "h2load":
        sys.exit("overload needs h2load. Run: apt-get install nghttp2-client")
    images = np.random.default_rng(0).integers(0, 256, (given.images, 28, 28), np.uint8)
    figures = [
        measure(given.models, given.model, images, limit, given.seconds) for limit in [None, *given.wait_seconds]
    ]
    table = Table(*(name.replace("_", " ") for name in asdict(figures[0])), box=None)
    for row in figures:
        table.add_row(*(f"{value:,.4g}" if isinstance(value, float) else str(value) for value in asdict(row).values()))
    Console(soft_wrap=True).print(table)
    print(json.dumps(machine.document("overload", figures=[asdict(row) for row in figures])))


if __name__ == "__main__":
    main()
