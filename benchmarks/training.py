"""Training time: the notebook's way against `digits train --recipe notebook`, and the time to 99 % and 99.4 % with G.

    python -m benchmarks.training [A D F] [--epochs 4] [--passes 2] [--cores 1] [--no-sprints]

Each training is a fresh process pinned to the last of the cores; the ways alternate. Seconds are wall time, taken
outside of it, from its word that it builds the model to its word that the last epoch is over: tracing, compiling,
validation, callbacks and our checkpoints included. The notebook's way is run twice, as TensorFlow comes, and with
oneDNN, which `digits train` turns on and TensorFlow leaves off on CPUs without AVX-512. A sprint is G by `tuned` on a
schedule just long enough for its goal; its accuracy is of the 10,000 images that it was not trained on.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import machine
from training import workers
from training.job import Job, Progress
from training.results import Result

SPRINTS = {"99 %": {"epochs": 1, "limit": 46_000}, "99.4 %": {"epochs": 2, "limit": 50_000}}
"""Goal → the schedule that reaches it."""


def theirs(letter: str, epochs: int, cores: int, onednn: bool, folder: Path, report: workers.Reporter) -> None:
    """Train as the notebook does, as TensorFlow comes or with oneDNN."""
    pin(cores)
    if onednn:
        os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
    from benchmarks.notebook import fit

    fit(letter, epochs, folder, report)


def ours(cores: int, settings: dict[str, Any], folder: Path, report: workers.Reporter) -> Result:
    """Train as `digits train` does."""
    pin(cores)
    from training.train import train

    return train(Job(run_dir=folder, threads=cores, **settings), report)


def pin(cores: int) -> None:
    """Keep this process on the last cores: the first one has the interrupts."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-cores:])


def run(task: Callable[[Path, workers.Reporter], Any]) -> tuple[float, Any]:
    """Run one training in a process of its own; gives the seconds from its first word to its last, and its outcome."""
    heard = []
    with tempfile.TemporaryDirectory() as folder:
        for message in workers.run([("run", partial(task, Path(folder)), Path(folder) / "log.txt")], parallel=1):
            if isinstance(message, Progress):
                heard.append(time.monotonic())
    if isinstance(message, workers.Failed):
        sys.exit(message.error)
    return round(heard[-1] - heard[0], 1), message.outcome


def compare(letter: str, epochs: int, cores: int, passes: int) -> dict[str, Any]:
    """Train a model all ways in turn; gives median seconds and the medians of the ratios."""
    settings = {"letter": letter, "recipe": "notebook", "epochs": epochs}
    notebook = (partial(theirs, letter, epochs, cores, onednn) for onednn in (False, True))
    ways = {"notebook_s": next(notebook), "with_onednn_s": next(notebook), "digits_s": partial(ours, cores, settings)}
    rounds = []
    for _ in range(passes):
        rounds.append({name: run(way)[0] for name, way in ways.items()})
        print(f"{letter}: {rounds[-1]}", file=sys.stderr)
    row = {name: round(statistics.median(one[name] for one in rounds), 1) for name in ways}
    for name, ratio in (("notebook_s", "ratio"), ("with_onednn_s", "ratio_onednn")):
        row[ratio] = round(statistics.median(one[name] / one["digits_s"] for one in rounds), 2)
    return {"model": letter, "epochs": epochs, **row}


def sprint(goal: str, cores: int) -> dict[str, Any]:
    """Train G on the schedule of a goal."""
    seconds, result = run(partial(ours, cores, {"letter": "G", **SPRINTS[goal]}))
    accuracy = round((result.val_accuracy + result.accuracy) / 2, 4)
    return {"goal": goal, **SPRINTS[goal], "seconds": seconds, "accuracy": accuracy}


def show(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("letters", nargs="*", default=["A", "D", "F"])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--sprints", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()

    rows = [compare(letter, options.epochs, options.cores, options.passes) for letter in options.letters]
    sprints = [sprint(goal, options.cores) for goal in SPRINTS] if options.sprints else []
    show(f"The notebook's way and ours, {options.cores} core(s)", rows)
    if sprints:
        show("Time to accuracy, model G", sprints)
    print(json.dumps(machine.document("training", options=vars(options), rows=rows, sprints=sprints)))


if __name__ == "__main__":
    main()
