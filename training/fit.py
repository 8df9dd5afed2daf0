"""From epoch to epoch: fit, validate, save a checkpoint, tell Keras' callbacks, and stop in time."""

import csv
import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from training import checkpoint
from training.checkpoint import Row
from training.data import Array
from training.evaluate import Evaluator, score
from training.loop import Loop, State

BEST = "best/"
"""Prefix of the best epoch's state among a checkpoint's arrays."""
Report = Callable[[float, Row | None, str], None]
"""Is told the epoch, with a fraction, the figures of each whole one, and a remark for the person who waits."""


@dataclass
class Fit:
    """A training under way: the newest state, the best one so far (where the recipe stops early), and the figures."""

    state: State
    best: State
    history: list[Row]

    @property
    def best_epoch(self) -> int:
        """The number of the epoch, from 0, with the lowest validation loss; the first of equals."""
        losses = [row["val_loss"] for row in self.history]
        return losses.index(min(losses))


def fit(loop: Loop, validation: tuple[Array, Array], run_dir: Path, callbacks: list[Any], report: Report) -> list[Row]:
    """Train to the end, from the last checkpoint where there is one, and leave the final weights in the model.

    Gives a row of figures an epoch. Raises DigitsError when a checkpoint cannot be saved.
    """
    run, remark = _resume(loop, run_dir)
    report(len(run.history), None, remark)
    evaluator = Evaluator(loop.model)
    listeners = keras.callbacks.CallbackList(
        callbacks, model=loop.model, epochs=loop.recipe.epochs, steps=loop.steps_per_epoch, verbose=0
    )

    def report_step(step: int) -> None:
        report(len(run.history) + step / loop.steps_per_epoch, None, "")

    loop.model.stop_training = False
    loop.model.optimizer = None  # the loop has it; Keras' TensorBoard callback looks for one
    listeners.on_train_begin()
    while not _finished(run, loop):
        epoch = len(run.history)
        started, cpu_started = time.monotonic(), time.process_time()
        listeners.on_epoch_begin(epoch)
        run.state, loss, accuracy = loop.epoch(run.state, epoch, report_step)
        loop.show(run.state)
        val_loss, val_accuracy = score(evaluator.probabilities(validation[0]), validation[1])
        row = {"loss": loss, "accuracy": accuracy, "val_loss": val_loss, "val_accuracy": val_accuracy}
        row["learning_rate"] = loop.rate(epoch)
        took = {"seconds": time.monotonic() - started, "core_seconds": time.process_time() - cpu_started}
        run.history.append({**row, **{name: round(value, 3) for name, value in took.items()}})
        if loop.recipe.patience and run.best_epoch == epoch:
            run.best = run.state
        _save(run, loop, run_dir)
        listeners.on_epoch_end(epoch, row)
        report(epoch + 1, run.history[-1], "")
    loop.show(run.best or run.state)
    listeners.on_train_end()
    return run.history


def _finished(run: Fit, loop: Loop) -> bool:
    epoch, patience = len(run.history), loop.recipe.patience
    too_long = bool(patience and epoch and epoch - 1 - run.best_epoch >= patience)
    return epoch >= loop.recipe.epochs or too_long or loop.model.stop_training


def _resume(loop: Loop, run_dir: Path) -> tuple[Fit, str]:
    fresh = loop.start()
    try:
        saved = checkpoint.load(run_dir)
    except ValueError as error:
        return Fit(fresh, {}, []), f"{error}: starting over"
    if saved is None:
        return Fit(fresh, {}, []), ""
    arrays = {name: tf.constant(array) for name, array in saved.arrays.items()}
    same_layers = all(name in arrays and arrays[name].shape == array.shape for name, array in fresh.items())
    if saved.recipe != dataclasses.asdict(loop.recipe) or not same_layers:
        return Fit(fresh, {}, []), f"{run_dir / checkpoint.FILE} is of another model or recipe: starting over"
    best = {name.removeprefix(BEST): array for name, array in arrays.items() if name.startswith(BEST)}
    state = {name: arrays[name] for name in fresh}
    return Fit(state, best, saved.history), f"going on after epoch {len(saved.history)}"


def _save(run: Fit, loop: Loop, run_dir: Path) -> None:
    arrays = {name: value.numpy() for name, value in run.state.items()}
    arrays.update({BEST + name: value.numpy() for name, value in run.best.items()})
    checkpoint.save(run_dir, checkpoint.Checkpoint(arrays, run.history, dataclasses.asdict(loop.recipe)))
    with (run_dir / "epochs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["epoch", *run.history[0]])
        writer.writeheader()
        writer.writerows({"epoch": number, **row} for number, row in enumerate(run.history, 1))
