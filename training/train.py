"""Train one model: data → model → fit → evaluate → save. `digits train D` runs this in a process of its own.

A run directory holds config.json, epochs.csv, TensorBoard events, model.keras and result.json, in the order in which
they appear: a run with a result.json is finished.
"""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import keras

from training import data, results
from training.architectures import ARCHITECTURES
from training.device import configure
from training.job import Job, Progress, Report
from training.recipes import Recipe, build, evaluation_batches, recipe_for, steps_per_epoch, training_batches


def train(job: Job, report: Report) -> results.Result:
    """Train as `job` says, telling `report` how far it is, and leave the finished run in `job.run_dir`."""
    strategy, device = configure(job.device, job.threads)
    architecture = ARCHITECTURES[job.letter]
    recipe = recipe_for(job.recipe, job.letter, job.epochs)
    report(Progress(job.letter, 0, recipe.epochs, device=device))
    keras.utils.set_random_seed(job.seed)

    # --- data ---------------------------------------------------------------------------------------------------------
    mnist = data.load(job.data).limit(job.limit)
    images = len(mnist.x_train)
    batches = training_batches(mnist.x_train, mnist.y_train, recipe, job.seed)
    validation = evaluation_batches(mnist.x_val, mnist.y_val, recipe)
    _save_config(job, recipe, mnist.source)

    # --- model --------------------------------------------------------------------------------------------------------
    with strategy.scope():
        model = build(architecture, recipe, images)

    # --- fit ----------------------------------------------------------------------------------------------------------
    started = time.monotonic()
    history = model.fit(
        batches,
        validation_data=validation,
        epochs=recipe.epochs,
        callbacks=[*_callbacks(recipe, job.run_dir), _Reporter(job.letter, report, steps_per_epoch(recipe, images))],
        verbose=0,  # Keras' own bar writes to stdout
    )
    seconds = time.monotonic() - started

    # --- evaluate -----------------------------------------------------------------------------------------------------
    val_loss, val_accuracy = model.evaluate(validation, verbose=0)
    train_loss, train_accuracy = model.evaluate(evaluation_batches(mnist.x_train, mnist.y_train, recipe), verbose=0)
    loss, accuracy = model.evaluate(evaluation_batches(mnist.x_test, mnist.y_test, recipe), verbose=0)

    # --- save ---------------------------------------------------------------------------------------------------------
    model.save(job.run_dir / "model.keras")
    published_loss, published_accuracy = architecture.later
    result = results.Result(
        run=job.run_dir.name,
        model=job.letter,
        description=architecture.description,
        loss=loss,
        accuracy=accuracy,
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        train_loss=train_loss,
        train_accuracy=train_accuracy,
        parameters=model.count_params(),
        images=images,
        epochs=len(history.epoch),
        seconds=round(seconds, 1),
        recipe=recipe.name,
        seed=job.seed,
        device=device,
        published_loss=published_loss,
        published_accuracy=published_accuracy,
    )
    results.write(result, job.run_dir / "result.json")
    return result


def _save_config(job: Job, recipe: Recipe, source: str) -> None:
    config = {"job": dataclasses.asdict(job), "recipe": dataclasses.asdict(recipe), "data": source}
    (job.run_dir / "config.json").write_text(json.dumps(config, indent=1, default=str) + "\n")


def _callbacks(recipe: Recipe, run_dir: Path) -> list[keras.callbacks.Callback]:
    callbacks = [keras.callbacks.TensorBoard(run_dir), keras.callbacks.CSVLogger(run_dir / "epochs.csv")]
    if recipe.weight_average:  # validates with the averaged weights, which are what is kept at the end
        callbacks.insert(0, keras.callbacks.SwapEMAWeights())
    if recipe.patience:
        callbacks.append(keras.callbacks.EarlyStopping(patience=recipe.patience, restore_best_weights=True))
    return callbacks


class _Reporter(keras.callbacks.Callback):
    """Tell `report` about every call of `steps_per_execution` batches and every epoch."""

    def __init__(self, letter: str, report: Report, steps: int) -> None:
        super().__init__()
        self.letter, self.report, self.steps = letter, report, steps
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._tell(self.epoch + min(1.0, (batch + 1) / self.steps))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._tell(epoch + 1, float(logs["loss"]), float(logs["val_accuracy"]))

    def _tell(self, epoch: float, loss: float | None = None, val_accuracy: float | None = None) -> None:
        self.report(Progress(self.letter, epoch, self.params["epochs"], loss, val_accuracy))
