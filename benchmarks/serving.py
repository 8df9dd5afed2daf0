"""Predict requests/s and latency: the embedded server against the usual hand-written one, side by side.

    python -m benchmarks.serving [--models models] [--model digits] [--passes 3] [--seconds 3] [--cores 1]

Both host the newest version of the model on the same cores as the load generator; each pass measures every case on
the one, then on the other. The table gives medians over the passes; the last line is one JSON document.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import load, machine
from client.contract import IMAGES
from client.proto.serving_pb2 import ModelSpec, PredictRequest
from client.tensors import pack_content
from serving.versions import latest_version

CASES = [(1, 1), (1, 64), (256, 1), (256, 4)]
"""Images a request, requests in flight."""


@dataclass(frozen=True)
class Server:
    """A server that answers: its address, how long it took to listen, and its process."""

    address: str
    start_s: float
    process: subprocess.Popen[str]

    def memory_mb(self, field: str = "VmHWM") -> float:
        """Give the most memory that it has ever held, or with VmRSS what it holds now."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def main() -> None:
    given = _options().parse_args()
    os.sched_setaffinity(0, range(given.cores))  # the children inherit it
    newest = latest_version(given.models / given.model)
    if newest is None:
        sys.exit(f"no version of {given.model} in {given.models}. Run: digits train")
    embedded = running("serving", "serve", "--models", str(given.models), "--port", "0")
    with embedded as ours, running("benchmarks.usual_server", str(newest[1])) as usual:
        servers = {"embedded": ours, "usual": usual}
        passes = [one_pass(servers, given.model, given.seconds) for _ in range(given.passes + 1)]
        report(servers, passes[1:])  # the first warmed up


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--models", type=Path, default=Path("models"))
    options.add_argument("--model", default="digits")
    options.add_argument("--passes", type=int, default=3)
    options.add_argument("--seconds", type=float, default=3)
    options.add_argument("--cores", type=int, default=1)
    return options


@contextmanager
def running(module: str, *arguments: str) -> Iterator[Server]:
    """Start a server and end it; its first line with `listening on` tells the address."""
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", module, *arguments], stderr=subprocess.PIPE, text=True) as process:
        line = next(line for line in process.stderr or () if line.startswith("listening on"))
        try:
            yield Server(line.split()[2], time.perf_counter() - start, process)
        finally:
            process.terminate()


Pass = dict[tuple[str, int, int], load.Figures]


def one_pass(servers: dict[str, Server], model: str, seconds: float) -> Pass:
    """Measure every case on one server, then on the other."""
    return {
        (name, images, in_flight): load.measure(server.address, request_of(model, images), in_flight, seconds)
        for name, server in servers.items()
        for images, in_flight in CASES
    }


def request_of(model: str, images: int) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (images, 28, 28), np.uint8)
    request = PredictRequest(model_spec=ModelSpec(name=model), inputs={IMAGES: pack_content(pixels)})
    return request.SerializeToString()


def report(servers: dict[str, Server], passes: list[Pass]) -> None:
    """Print the table of medians and the JSON line with every figure."""
    table = Table("server", "images", "in flight", "requests/s", "images/s", "p50 ms", "p99 ms", box=None)
    for name, images, in_flight in passes[0]:
        figures = [measured[name, images, in_flight] for measured in passes]
        rate = statistics.median(each.requests_per_s for each in figures)
        latencies = [statistics.median(getattr(each, field) for each in figures) for field in ("p50_ms", "p99_ms")]
        row = [f"{rate:,.0f}", f"{rate * images:,.0f}", *(f"{latency:.2f}" for latency in latencies)]
        table.add_row(name, str(images), str(in_flight), *row)
    Console(soft_wrap=True).print(table)
    facts = {name: {"start_s": server.start_s, "memory_mb": server.memory_mb()} for name, server in servers.items()}
    for name, fact in facts.items():
        print(f"{name}: listening after {fact['start_s']:.2f} s, at most {fact['memory_mb']:.0f} MB")
    runs = [
        {"server": name, "images": images, "in_flight": in_flight, **asdict(figures)}
        for measured in passes
        for (name, images, in_flight), figures in measured.items()
    ]
    print(json.dumps({"generator": load.GENERATOR, "servers": facts, "runs": runs, "machine": machine.describe()}))


if __name__ == "__main__":
    main()
