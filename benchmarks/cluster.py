"""Predict requests/s on Ray Serve: our replica against the usual one, side by side, and the embedded server.

    python -m benchmarks.cluster [--models models] [--model D] [--rounds 2] [--seconds 3] [--cores 1] [--out FILE]

A Ray of its own on this machine, one replica and one proxy, which share the cores with the load generator. Each round
deploys ours, then the usual one, and measures every case. The last line is one JSON document.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

import ray

from benchmarks import load, machine
from benchmarks.serving import CASES, request_of, running
from benchmarks.usual_replica import deployed as usual_deployed
from serving.cluster import PATIENCE, deployed, free_port
from serving.limits import Limits
from serving.logs import Log
from serving.settings import Settings
from serving.versions import latest_version


def main() -> None:
    given = _options().parse_args()
    os.sched_setaffinity(0, range(given.cores))  # the children inherit it
    newest = latest_version(given.models / given.model)
    if newest is None:
        sys.exit(f"no version of {given.model} in {given.models}. Run: digits train")
    os.environ["PYTHONPATH"] = str(Path(__file__).parent.parent)
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=200 << 20, log_to_driver=False)
    runs = []
    for _ in range(given.rounds):
        for name, serving in (("cluster", _ours(given.models)), ("cluster, usual", _usual(newest[1]))):
            with serving as address:
                runs += _measure(name, address, given.model, given.seconds)
    ray.shutdown()
    with running("serving", "serve", "--models", str(given.models), "--port", "0") as embedded:
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
        limits=Limits(),
        certificates=None,
        log=Log(),
    )
    with deployed(settings, (1, 1)) as port:
        yield f"127.0.0.1:{port}"


@contextmanager
def _usual(version_dir: Path) -> Iterator[str]:
    with ExitStack() as stack:
        yield f"127.0.0.1:{stack.enter_context(usual_deployed(version_dir, free_port(), free_port(), PATIENCE))}"


def _measure(name: str, address: str, model: str, seconds: float) -> list[dict[str, object]]:
    load.measure(address, request_of(model, 1), 4, 2)  # warms up
    runs = []
    for images, in_flight in CASES:
        figures = load.measure(address, request_of(model, images), in_flight, seconds)
        runs.append({"server": name, "images": images, "in_flight": in_flight, **asdict(figures)})
        print(
            f"{name:16} {images:4} images, {in_flight:3} in flight: {figures.requests_per_s:8,.1f} requests/s",
            flush=True,
        )
    return runs


def _report(runs: list[dict[str, object]], out: Path | None) -> None:
    """Print how many times the usual replica's rate ours has, and the JSON line with every figure."""

    def rate(name: str, case: tuple[int, int]) -> float:
        return statistics.median(
            float(str(run["requests_per_s"]))
            for run in runs
            if (run["server"], run["images"], run["in_flight"]) == (name, *case)
        )

    ratios = {f"{case[0]}x{case[1]}": round(rate("cluster", case) / rate("cluster, usual", case), 2) for case in CASES}
    document = {"generator": load.GENERATOR, "ratios": ratios, "runs": runs, "machine": machine.describe()}
    if out:
        out.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document))


if __name__ == "__main__":
    main()
