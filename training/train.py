"""Train one model: data → model → fit → evaluate → save. `digits train D` runs this in a process of its own.

A run directory holds config.json, TensorBoard events, checkpoint.npz, epochs.csv, model.keras, evaluation.json and
result.json, in the order in which they appear: a run with a result.json is finished. Killed before that, the same
command goes on after the last whole epoch and ends with the same weights.
"""

import dataclasses
import json
import os
import time
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

# On CPUs without AVX-512 TensorFlow leaves oneDNN off, and model F's step takes 2.2 times as long (AVX2, TF 2.21)
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras

from client.errors import DigitsError
from serving.versions import read_json
from training import checkpoint, data, evaluate, folder, hosts, results
from training.architectures import ARCHITECTURES
from training.device import configure
from training.fit import fit
from training.job import Job, Progress, Report
from training.loop import Loop
from training.pens import with_other_pens
from training.recipes import Recipe, build, recipe_for
from training.shifts import averaged
from training.upstroke import with_upstrokes


def train(job: Job, report: Report) -> results.Result:
    """Train as `job` says, telling `report` how far it is, and leave the finished run in `job.run_dir`.

    A run that is finished already is given as it is. Raises DigitsError when there is no data or no room.
    """
    with folder.locked(job.run_dir), folder.removed_unbegun(job.run_dir):
        return finished(job) or train_on(data.load(job.data), job, report)


def finished(job: Job) -> results.Result | None:
    """Give the result of a run that is whole, and trained as the recipe is today; else None."""
    recipe = recipe_for(job.recipe, job.letter, job.epochs, job.precision)
    if not _whole(job.run_dir / "model.keras") or folder.recipe_of(job.run_dir) != dataclasses.asdict(recipe):
        return None
    with suppress(DigitsError, OSError, ValueError):
        read_json(job.run_dir / results.EVALUATION)  # which an export needs, too
        return results.read(job.run_dir)
    return None


def _whole(archive: Path) -> bool:
    """Tell whether a zip file is there, and undamaged to its last bit."""
    try:
        with zipfile.ZipFile(archive) as file:
            return file.testzip() is None
    except (OSError, ValueError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile):  # as zipfile gives up
        return False


def train_on(mnist: data.Mnist, job: Job, report: Report) -> results.Result:
    """Train on these images; `train` reads and verifies MNIST first."""
    strategy, device = configure(job.device, job.threads, hosts.count())
    architecture = ARCHITECTURES[job.letter]
    recipe = recipe_for(job.recipe, job.letter, job.epochs, job.precision)
    keras.utils.set_random_seed(job.seed)
    folder.write_config(job.run_dir, job, recipe=dataclasses.asdict(recipe), data=mnist.source)
    report(Progress(job.name, 0, recipe.epochs, device=device))

    # --- data ---------------------------------------------------------------------------------------------------------
    mnist = mnist.limit(job.limit)

    # --- model --------------------------------------------------------------------------------------------------------
    started, cpu_started = time.monotonic(), time.process_time()
    with strategy.scope():
        model = build(architecture, recipe)
    images = with_upstrokes(mnist.x_train, mnist.y_train, recipe.upstrokes, job.seed)
    images = with_other_pens(images, recipe.pens, job.seed)
    loop = Loop(model, recipe, images, mnist.y_train, job.seed, strategy)
    set_up: dict[str, Any] = {"seconds": time.monotonic() - started, "core_seconds": time.process_time() - cpu_started}

    # --- fit ----------------------------------------------------------------------------------------------------------
    def tell(epoch: float, row: checkpoint.Row | None, remark: str) -> None:
        loss, val_accuracy = (row["loss"], row["val_accuracy"]) if row else (None, None)
        report(Progress(job.name, epoch, recipe.epochs, loss, val_accuracy, remark=remark))

    callbacks = [keras.callbacks.TensorBoard(job.run_dir)]
    history = fit(loop, (mnist.x_val, mnist.y_val), job.run_dir, callbacks, tell)

    # --- evaluate -----------------------------------------------------------------------------------------------------
    model = _as_served(model, architecture, recipe)
    evaluation = evaluate.evaluate(model, mnist)

    # --- save ---------------------------------------------------------------------------------------------------------
    model.save(job.run_dir / "model.keras")
    details = {"history": history, **evaluation.details}
    (job.run_dir / results.EVALUATION).write_text(json.dumps(details) + "\n")
    published_loss, published_accuracy = architecture.published or (None, None)
    result = results.Result(
        run=job.run_dir.name,
        model=job.letter,
        description=architecture.description,
        **evaluation.figures,
        parameters=model.count_params(),
        images=len(mnist.x_train),
        epochs=len(history),
        **{name: round(value + sum(row[name] for row in history), 1) for name, value in set_up.items()},
        recipe=recipe.name,
        seed=job.seed,
        device=device,
        published_loss=published_loss,
        published_accuracy=published_accuracy,
    )
    results.write(result, job.run_dir)
    return result


def _as_served(model: keras.Model, architecture: Any, recipe: Recipe) -> keras.Model:
    """Give the model in float32, in which its weights are kept, and with its shifts."""
    if recipe.precision != "float32":
        plain = build(architecture, dataclasses.replace(recipe, precision="float32"))
        plain.set_weights(model.get_weights())
        model = plain
    return averaged(model) if recipe.shifts else model
