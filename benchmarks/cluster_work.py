"""Seconds that a training and a run over files take on a Ray cluster, against the same command on one machine.

    python -m benchmarks.cluster_work [--models models] [--files 20000] [--epochs 2] [--rounds 2] [--cores 2] [--out F]

The cluster's three nodes with one CPU each are processes on this machine and share its cores: the figures tell what a
cluster costs, not what further machines gain. Trainings are those of A, B and C; the files are MNIST's test images as
PNG, asked of one embedded server. A command's seconds are those of its whole process, with the start of Python and the
connection to the cluster. The last line is one JSON document.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

from benchmarks import machine
from benchmarks.client import write_digits
from benchmarks.servers import running

NODES = 3
NODE = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}


def main() -> None:
    given = _options().parse_args()
    os.sched_setaffinity(0, range(given.cores))  # the children inherit it
    environment = {
        "PYTHONPATH": Path(__file__).parent.parent,
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": 0,
    }
    os.environ.update({name: str(value) for name, value in environment.items()})
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        for _ in range(NODES - 1):
            cluster.add_node(**NODE)
        runs = [run for number in range(given.rounds) for run in _round(given, cluster.address)]
    finally:
        cluster.shutdown()
    document = machine.document("cluster_work", nodes=NODES, files=given.files, epochs=given.epochs, runs=runs)
    if given.out:
        given.out.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document))


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--models", type=Path, default=Path("models"))
    options.add_argument("--files", type=int, default=20_000)
    options.add_argument("--epochs", type=int, default=2)
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--cores", type=int, default=2)
    options.add_argument("--out", type=Path)
    return options


def _round(given: argparse.Namespace, address: str) -> list[dict[str, Any]]:
    """Do everything once on one machine and once on the cluster, each in a new folder."""
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "files"
        write_digits(files, given.files)
        for where, cluster in (("machine", []), ("cluster", ["--cluster", address])):
            work = Path(folder) / where
            work.mkdir()
            train = ["train", "A", "B", "C", "--epochs", given.epochs, *cluster]
            runs.append({"work": "train", "where": where, "seconds": _seconds(train, work)})
            with running("serving", "serve", "--models", str(given.models.absolute()), "--port", "0") as server:
                classify = ["classify", files, "--server", server.address, "--timeout", 60]
                out = [*cluster, "--out", work / "rows"] if cluster else ["--json"]
                runs.append({"work": "classify", "where": where, "seconds": _seconds([*classify, *out], work)})
            print(*runs[-2:], sep="\n", flush=True)
    return runs


def _seconds(arguments: list[Any], folder: Path) -> float:
    """Run a command of digits in a folder to its end."""
    start = time.perf_counter()
    module = "training" if arguments[0] == "train" else "client"
    command = [sys.executable, "-m", module, *map(str, arguments)]
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if finished.returncode:
        sys.exit(f"{command} ended with {finished.returncode}: {finished.stderr[-1000:]}")
    return round(time.perf_counter() - start, 1)


if __name__ == "__main__":
    main()
