"""Predict requests/s on Ray Serve: our replica against the usual one, side by side, and the embedded server.

    python -m benchmarks.cluster [--models models] [--model D] [--rounds 2] [--seconds 3] [--cores 1] [--out FILE]

A Ray of its own on this machine with one replica, which shares the cores with the load generator. Each round
deploys ours, then the usual one, and measures every case. Beside the rate stands the one for each second of processor
time that all of Ray spends: on a machine with other work the first says little. The last line is one JSON document.
"""

import argparse
import json
import os
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray

from benchmarks import load, machine
from benchmarks.servers import newest, running
from benchmarks.serving import IMAGES_OF
from benchmarks.usual_replica import deployed as usual_deployed
from benchmarks.wires import predict
from serving.cluster import deployed, free_port
from serving.limits import Limits
from serving.logs import Log
from serving.settings import Settings

CASES = [(1, 1), (1, 64), (256, 1), (256, 4)]
"""Images a request, requests in flight."""


def main() -> None:
    given = _options().parse_args()
    os.sched_setaffinity(0, range(given.cores))  # the children inherit it
    version_dir = newest(given.models, given.model)
    os.environ["PYTHONPATH"] = str(Path(__file__).parent.parent)
    ray.init("local", num_cpus=2, include_dashboard=False, object_store_memory=200 << 20, log_to_driver=False)
    runs = []
    for _ in range(given.rounds):
        for name, serving in (("cluster", _ours(given.models)), ("cluster, usual", _usual(version_dir))):
            with serving as address:
                runs += _measure(name, address, given.model, given.seconds)
    ray.shutdown()
    patient = "--max-wait-seconds", "5"  # as ours on Ray: what four large requests wait is the measured time
    with running("serving", "serve", "--models", str(given.models), "--port", "0", *patient) as embedded:
        runs += _measure("embedded", embedded.address, given.model, given.seconds)
    _report(runs, given.out)


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--models", type=Path, default=Path("models"))
    options.add_argument("--model", default="D")
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--seconds", type=float, default=3)
    options.add_argument("--cores", type=int, default=1)
    options.add_argument("--out", type=Path)
    return options


@contextmanager
def _ours(models: Path) -> Iterator[str]:
    settings = Settings(
        models=models.absolute(),
        config=None,
        model_name=None,
        host="0.0.0.0",
        port=0,
        rest_port=None,
        rest_timeout_seconds=30,
        poll_seconds=1,
        drain_seconds=5,
        connection_seconds=None,
        limits=Limits(wait_seconds=5),  # with its own it refuses some of four times 256 images
        tls=None,
        log=Log(),
    )
    with deployed(settings, (1, 1)) as port:
        yield f"127.0.0.1:{port}"


@contextmanager
def _usual(version_dir: Path) -> Iterator[str]:
    with ExitStack() as stack:
        yield f"127.0.0.1:{stack.enter_context(usual_deployed(version_dir, free_port(), free_port()))}"


def _measure(name: str, address: str, model: str, seconds: float) -> list[dict[str, Any]]:
    wire = predict(model)
    load.measure(wire, address, wire.encode(IMAGES_OF[1]), 4, 2)  # warms up
    runs = []
    for images, in_flight in CASES:
        before = _core_seconds()
        figures = load.measure(wire, address, wire.encode(IMAGES_OF[images]), in_flight, seconds)
        after = _core_seconds()
        spent = sum(after[pid] - before.get(pid, 0) for pid in after)
        rate = figures.requests_per_s * seconds / spent
        case = {"server": name, "images": images, "in_flight": in_flight}
        runs.append({**case, **asdict(figures), "requests_per_core_s": rate})
        print(
            f"{name:16} {images:4} × {in_flight:2}: {figures.requests_per_s:8,.1f} /s, {rate:8,.1f} /core s", flush=True
        )
    return runs


def _core_seconds() -> dict[int, float]:
    """Give the processor time of each process under this one: all of Ray, the load generator has ended."""
    facts = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            facts[int(entry.name)] = (entry / "stat").read_text().rpartition(")")[2].split()
    family, size = {os.getpid()}, 0
    while size < len(family):
        size = len(family)
        family |= {pid for pid, fact in facts.items() if int(fact[1]) in family}
    ticks = os.sysconf("SC_CLK_TCK")
    return {pid: (int(facts[pid][11]) + int(facts[pid][12])) / ticks for pid in family - {os.getpid()} if pid in facts}


def _report(runs: list[dict[str, Any]], out: Path | None) -> None:
    """Print how many times the usual replica's rate ours has, and the JSON line with every figure."""

    def median(name: str, case: tuple[int, int], figure: str) -> float:
        chosen = [run for run in runs if (run["server"], run["images"], run["in_flight"]) == (name, *case)]
        return statistics.median(run[figure] for run in chosen)

    figures = ("requests_per_s", "requests_per_core_s")
    ratios = {
        f"{images}x{in_flight}": {
            figure: round(median("cluster", case, figure) / median("cluster, usual", case, figure), 2)
            for figure in figures
        }
        for case in CASES
        for images, in_flight in [case]
    }
    document = machine.document("cluster", generator=load.GENERATOR, ratios=ratios, runs=runs)
    if out:
        out.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document))


if __name__ == "__main__":
    main()
