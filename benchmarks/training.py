"""Training time: the notebook's way against `digits train --recipe notebook`, side by side, same epochs.

    python -m benchmarks.training [A D F] [--epochs 4] [--passes 2] [--cores 1]

The notebook's way is arrays given to `fit`, Keras' defaults, and its TensorBoard and EarlyStopping callbacks. Each run
is a fresh process pinned to the cores; the runs alternate, and the seconds are `fit`'s wall time, validation included.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import machine
from training import workers
from training.job import Job


def notebook(letter: str, epochs: int, cores: int, folder: Path, _: workers.Reporter) -> float:
    """Fit as the notebook does; gives the seconds."""
    os.sched_setaffinity(0, range(cores))
    import time

    import keras

    from training import data
    from training.architectures import ARCHITECTURES

    mnist = data.load()
    model = ARCHITECTURES[letter].build()
    model.compile(optimizer="rmsprop", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    callbacks = [keras.callbacks.TensorBoard(folder), keras.callbacks.EarlyStopping(patience=10)]
    started = time.monotonic()
    model.fit(
        mnist.x_train[..., None],
        mnist.y_train,
        validation_data=(mnist.x_val[..., None], mnist.y_val),
        epochs=epochs,
        callbacks=callbacks,
        verbose=0,
    )
    return time.monotonic() - started


def ours(letter: str, epochs: int, cores: int, folder: Path, report: workers.Reporter) -> float:
    """Fit as `digits train` does; gives the seconds."""
    os.sched_setaffinity(0, range(cores))
    from training.train import train

    return train(Job(letter=letter, run_dir=folder, recipe="notebook", epochs=epochs, threads=cores), report).seconds


def measure(fit, letter: str, epochs: int, cores: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        task = partial(fit, letter, epochs, cores, Path(folder))
        last = list(workers.run([(letter, task, Path(folder) / "log.txt")], parallel=1))[-1]
    if isinstance(last, workers.Failed):
        sys.exit(last.error)
    return last.outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("letters", nargs="*", default=["A", "D", "F"])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--cores", type=int, default=1)
    options = parser.parse_args()

    rows = []
    for letter in options.letters:
        pairs = [
            [measure(fit, letter, options.epochs, options.cores) for fit in (notebook, ours)]
            for _ in range(options.passes)
        ]
        theirs, mine = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(one / other for one, other in pairs)
        rows.append(
            {"model": letter, "notebook_s": round(theirs, 1), "digits_s": round(mine, 1), "ratio": round(ratio, 2)}
        )
        print(f"{letter}: {rows[-1]}", file=sys.stderr)

    table = Table(
        "model", "notebook, s", "digits train, s", "ratio", title=f"{options.epochs} epochs, {options.cores} core(s)"
    )
    for row in rows:
        table.add_row(*(str(cell) for cell in row.values()))
    Console().print(table)
    print(json.dumps({"benchmark": "training", "options": vars(options), "rows": rows, "machine": machine.describe()}))


if __name__ == "__main__":
    main()
