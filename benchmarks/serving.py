"""Predict requests/s, latency, cold start and memory: the embedded server and its peers, in turn on one core.

    python -m benchmarks.serving [--models models] [--model digits] [--passes 3] [--seconds 3] [--only embedded usual]

Server and load generator (h2load: Debian's nghttp2-client) share the first core, or with `embedded x2` the first two.
All serve the newest version of the model; each pass starts every server, checks its probabilities against LiteRT's
before and after the load, and measures every case. The table gives medians over the passes; the last line is JSON.
A peer is measured when its Python is there; a missing one is a row that says so:

    python3.11 -m venv .peers/all && .peers/all/bin/pip install -r benchmarks/peers/requirements.txt
    python3.11 -m venv .peers/mlserver && .peers/mlserver/bin/pip install -r benchmarks/peers/mlserver.txt

PyTriton needs the Python whose shared libpython it finds, /usr/bin/python3.11 on Debian 12: a third venv,
.peers/pytriton, with the first list.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import grpc
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import load, machine, wires
from benchmarks.servers import newest
from benchmarks.wires import Wire
from client.contract import IMAGES, PROBABILITIES, SERVING_SIGNATURE
from client.proto.serving_pb2 import PredictRequest
from client.tensors import Array, pack_content
from serving.cluster import free_port
from serving.limits import BOUNDLESS
from serving.litert import LiteRTEngine
from serving.model import Model

CASES = [(1, 1), (1, 64), (256, 8)]
"""Images a request, requests in flight."""
START_SECONDS = 120
IMAGES_OF = {count: np.random.default_rng(0).integers(0, 256, (count, 28, 28), np.uint8) for count in (1, 256)}


@dataclass(frozen=True)
class Target:
    """A server to measure: its Python, its arguments with a port to come, how it is asked, and on how many cores."""

    python: Path
    arguments: list[str]
    wire: Wire
    cores: int = 1


@dataclass(frozen=True)
class Measured:
    """What a server did in one pass: seconds to the first right answer, MB of all its processes, and the cases."""

    start_s: float
    memory_mb: float
    cases: dict[str, load.Figures]


def targets(models: Path, model: str, peers: Path) -> dict[str, Target]:
    """Give the servers by name."""
    version_dir = str(newest(models, model))
    ours = ["-m", "serving", "serve", "--models", str(models), "--model-name", model, "--no-rest"]
    ours += ["--max-wait-seconds", "5", "--port"]  # with its own limit it refuses some of eight times 256 images
    python, predict = Path(sys.executable), wires.predict(model)

    def peer(environment: str, name: str, wire: Wire) -> Target:
        return Target(peers / environment / "bin/python", ["-m", f"benchmarks.peers.{name}", version_dir], wire)

    return {
        "embedded": Target(python, ours, predict),
        "embedded x2": Target(python, [*ours[:3], "--processes", "2", *ours[3:]], predict, cores=2),
        "usual": Target(python, ["-m", "benchmarks.usual_server", version_dir], predict),
        "FastAPI": peer("all", "fastapi_server", wires.RAW),
        "PyTriton": peer("pytriton", "pytriton_server", wires.INFER),
        "MLServer": peer("mlserver", "mlserver_server", wires.INFER),
        "Ray Serve": peer("all", "ray_server", predict),
    }


def missing(target: Target, cores: list[int]) -> str:
    """Say why a target cannot be measured; empty when it can."""
    if not target.python.exists():
        return f"not installed: {target.python}"
    return "" if len(cores) >= target.cores else f"needs {target.cores} cores"


def measure(target: Target, expected: dict[int, Array], cores: list[int], seconds: float) -> Measured:
    """Start a server, load it with every case, and end it. Raises RuntimeError for wrong answers."""
    os.sched_setaffinity(0, cores[: target.cores])  # the server's and the load's too: children inherit it
    with _started(target, expected[1]) as (address, start_s, process):
        _check(target.wire, address, expected)
        cases = {
            f"{count}x{in_flight}": load.measure(
                target.wire, address, target.wire.encode(IMAGES_OF[count]), in_flight, seconds
            )
            for count, in_flight in CASES
        }
        _check(target.wire, address, expected)
        return Measured(start_s, _memory_mb(process.pid), cases)


@contextmanager
def _started(target: Target, expected: Array) -> Iterator[tuple[str, float, subprocess.Popen[bytes]]]:
    port = free_port()
    begin = time.perf_counter()
    with (
        tempfile.TemporaryFile() as told,
        subprocess.Popen([target.python, *target.arguments, str(port)], stdout=told, stderr=told) as process,
    ):
        try:
            while not _answers(target.wire, port, expected):
                if process.poll() is not None or time.perf_counter() > begin + START_SECONDS:
                    told.seek(0)
                    raise RuntimeError(f"{target.arguments} does not answer: {told.read()[-2000:].decode()}")
                time.sleep(0.01)
            yield f"127.0.0.1:{port}", time.perf_counter() - begin, process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _answers(wire: Wire, port: int, expected: Array) -> bool:
    """Tell whether a server gives the right answer to one image already."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
        answer = wire.call(f"127.0.0.1:{port}", wire.encode(IMAGES_OF[1]))
        return np.allclose(wire.decode(answer), expected, atol=1e-4)
    except (OSError, grpc.RpcError, ValueError):
        return False


def _check(wire: Wire, address: str, expected: dict[int, Array]) -> None:
    for count, images in IMAGES_OF.items():
        answer = wire.decode(wire.call(address, wire.encode(images)))
        if not np.allclose(answer, expected[count], atol=1e-4):
            raise RuntimeError(f"{address} answers {answer[:1]} where {expected[count][:1]} is right")


def _memory_mb(pid: int) -> float:
    """Give the proportional set size of a process and all below it."""
    total, pids = 0, [pid]
    while pids:
        process = Path(f"/proc/{pids.pop()}")
        rollup = (process / "smaps_rollup").read_text()
        total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        pids += [int(one) for children in process.glob("task/*/children") for one in children.read_text().split()]
    return total / 1024


def engine_rates(version_dir: Path, core: int, seconds: float) -> dict[int, float]:
    """Give the images/s of the bare LiteRT engine by images a call."""
    os.sched_setaffinity(0, {core})
    engine, rates = LiteRTEngine(version_dir), {}
    for count, images in IMAGES_OF.items():
        calls, begin = 0, time.perf_counter()
        while time.perf_counter() < begin + seconds:
            engine.run(SERVING_SIGNATURE, {IMAGES: images}, [PROBABILITIES], BOUNDLESS)
            calls += 1
        rates[count] = calls * count / (time.perf_counter() - begin)
    return rates


def report(passes: list[dict[str, Measured]], engine: list[dict[int, float]], absent: dict[str, str]) -> None:
    """Print the table of medians and the JSON line with every figure."""
    columns = ["1 in flight: requests/s", "p50 ms", "64 in flight: requests/s", "p50 ms", "256 images: images/s"]
    table = Table("server", *columns, "cold start s", "memory MB", box=None)
    for name in (name for name in passes[0] if name not in absent):
        found = [measured[name] for measured in passes]
        row = []
        for count, in_flight in CASES:
            figures = [one.cases[f"{count}x{in_flight}"] for one in found]
            row.append(f"{statistics.median(one.requests_per_s for one in figures) * count:,.0f}")
            row.append(f"{statistics.median(one.p50_ms for one in figures):.2f}")
        start, memory = (statistics.median(getattr(one, field) for one in found) for field in ("start_s", "memory_mb"))
        table.add_row(name, *row[:5], f"{start:.2f}", f"{memory:.0f}")
    rates = {count: statistics.median(rates[count] for rates in engine) for count in IMAGES_OF}
    table.add_row("bare engine", f"{rates[1]:,.0f}", f"{1000 / rates[1]:.2f}", "", "", f"{rates[256]:,.0f}", "", "")
    for name, reason in absent.items():
        table.add_row(name, reason.splitlines()[0][:60])
    Console(soft_wrap=True).print(table)
    runs = [{name: asdict(one) for name, one in measured.items()} for measured in passes]
    facts = {"generator": load.GENERATOR, "engine": engine, "passes": runs, "absent": absent}
    print(json.dumps(machine.document("serving", **facts)))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--models", type=Path, default=Path("models"))
    options.add_argument("--model", default="digits")
    options.add_argument("--peers", type=Path, default=Path(".peers"))
    options.add_argument("--only", nargs="+")
    options.add_argument("--passes", type=int, default=3)
    options.add_argument("--seconds", type=float, default=3)
    given = options.parse_args()
    cores, version_dir = sorted(os.sched_getaffinity(0)), newest(given.models, given.model)
    every = targets(given.models.absolute(), given.model, given.peers.absolute())
    if unknown := [name for name in given.only or () if name not in every]:
        options.error(f"no server {', '.join(unknown)}: there are {', '.join(every)}")
    wanted = {name: target for name, target in every.items() if not given.only or name in given.only}
    absent = {name: reason for name, target in wanted.items() if (reason := missing(target, cores))}
    model = Model(version_dir)
    expected = {
        count: model.predict(PredictRequest(inputs={IMAGES: pack_content(images)}))[1][PROBABILITIES]
        for count, images in IMAGES_OF.items()
    }
    passes, engine = [], []
    for _ in range(given.passes):
        engine.append(engine_rates(version_dir, cores[0], given.seconds))
        passes.append({})
        for name in [name for name in wanted if name not in absent]:
            print(f"pass {len(passes)}: {name}", file=sys.stderr)
            try:
                passes[-1][name] = measure(wanted[name], expected, cores, given.seconds)
            except Exception as error:  # whatever a server did, the figures of the others are kept
                absent[name] = f"failed: {error}"
    os.sched_setaffinity(0, cores)
    report(passes, engine, absent)


if __name__ == "__main__":
    main()
