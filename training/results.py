"""Results of trainings: one row per model, kept with its exported version, and the choice of the best.

The rows live in `assets.extra/benchmark.json` of the versions, so that the model root is the only state. No TensorFlow.
"""

import dataclasses
import json
import math
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from client.console import note, shown
from client.contract import MODEL
from client.errors import DigitsError, UsageError
from serving.versions import BENCHMARK_FILE, latest_version, read_json, why, write_json

ENSEMBLE = "ensemble"
MODELS = ("A", "B", "C", "D", "E", "F", "G", "H", ENSEMBLE)
"""What can be trained, in the order of the table: the exercise's six, our own two, and the mean of the best few."""
RESULT = "result.json"
"""In a run directory that is finished."""
EVALUATION = "evaluation.json"
"""In a run directory, and with each version: the figures of every epoch, the confusion matrix, and mistakes."""
HALF = 5_000
"""Images of the validation and of the test half."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One trained model. Losses are cross-entropies; accuracies are shares of 5,000 images.
    `seconds` is wall time, `core_seconds` what the processor's cores worked, together, to train.

    `run` is the name of the run's directory, `images` the number of training images, `published_accuracy` the
    author's later run. `seed_accuracies` has (validation, test) of every seed of the training; all other figures are
    of the seed that was chosen. `distorted_accuracy` is that of ten copies of the validation images, as other people
    would write and photograph them (training/evaluate.py): models are chosen by it; 0 in versions from before it was
    measured, which any newer model replaces. `served` marks the row of the model that answers.
    """

    run: str
    model: str
    description: str
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    distorted_accuracy: float = 0.0
    train_loss: float
    train_accuracy: float
    parameters: int
    images: int
    epochs: int
    seconds: float
    core_seconds: float = 0.0
    recipe: str
    seed: int
    device: str
    published_loss: float | None = None
    published_accuracy: float | None = None
    seed_accuracies: list[tuple[float, float]] = field(default_factory=list)
    served: bool = False

    @property
    def errors(self) -> tuple[int, int]:
        """Wrong answers on the 5,000 test images, and on all 10,000 that were not trained on."""
        test = round((1 - self.accuracy) * HALF)
        return test, test + round((1 - self.val_accuracy) * HALF)

    @property
    def distorted_errors(self) -> float:
        """Wrong answers on the 5,000 validation images when they are distorted, in the mean."""
        return round((1 - self.distorted_accuracy) * 10 * HALF) / 10

    @property
    def spread(self) -> tuple[float, float, int]:
        """Mean and standard deviation (of a sample) of the test accuracy over the seeds, and their number."""
        values = [test for _, test in self.seed_accuracies] or [self.accuracy]
        return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0, len(values)


def read(run_dir: Path) -> Result:
    """Read the result of a run. Raises DigitsError when there is none: the run is not finished, or no such folder."""
    if not run_dir.is_dir():
        raise UsageError(f"{run_dir}: no such run folder. See: ls {shown(run_dir.parent)}")
    path = run_dir / RESULT
    try:
        return Result(**read_json(path))
    except (OSError, ValueError, TypeError) as error:
        reason = why(error, path)
        raise DigitsError(f"{path}: not a finished run ({reason}). Train again with: digits train") from None


def write(result: Result, run_dir: Path) -> None:
    """Write the result of a run, whole or not at all."""
    write_json(run_dir / RESULT, dataclasses.asdict(result))


def to_json(rows: list[Result]) -> str:
    """Render rows as a JSON array, every field of Result."""
    return json.dumps([dataclasses.asdict(row) for row in rows], indent=1)


def benchmark(version_dir: Path) -> dict[str, Any]:
    """Read the benchmark.json of a version. Raises DigitsError with the path when it is missing or cut."""
    path = version_dir / BENCHMARK_FILE
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        reason = why(error, path)
        raise DigitsError(
            f"{version_dir}: no readable benchmark ({reason}). Delete this version or export again."
        ) from None


def own_result(version_dir: Path) -> Result:
    """Give the row of the model that a version holds. Raises DigitsError where it does not tell."""
    content = benchmark(version_dir)
    try:
        return _checked(Result(**next(row for row in content["results"] if row["run"] == content["run"])))
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        reason = f"{BENCHMARK_FILE} has no such row as this version of digits writes: {type(error).__name__}"
        raise DigitsError(f"{version_dir}: {reason}. Delete this version or export again.") from None


def _checked(row: Result) -> Result:
    """Give a row whose figures can be compared and printed. Raises TypeError or ValueError for another."""
    seeds = [share for validation, test in row.seed_accuracies for share in (validation, test)]
    figures = row.loss, row.accuracy, row.val_loss, row.val_accuracy, row.distorted_accuracy, *seeds
    if not all(map(math.isfinite, figures)):
        raise ValueError("not a number")
    return row


def holds(version_dir: Path, run: str, rows: list[Result]) -> bool:
    """Tell whether a version holds a run, and a table of these very rows."""
    wanted = [dataclasses.replace(row, served=row.run == run) for row in rows]
    try:
        content = benchmark(version_dir)
        return bool(content["run"] == run and content["results"] == json.loads(to_json(wanted)))
    except (DigitsError, KeyError):
        return False


def gather(models: Path) -> dict[Path, Result]:
    """Collect the latest version of each model in a model root and its row, the served one marked.

    Where a version is served that is not the latest of its model, it stands for the model. One that cannot be read is
    named on stderr and left out.
    """
    latest = [found[1] for name in MODELS if (found := latest_version(models / name))]
    rows = {row.model: (path, row) for path in latest if (row := _readable(path))}
    found = latest_version(models / MODEL)
    served = _readable(found[1]) if found else None
    if found and served:
        path, own = rows.get(served.model, (found[1], served))
        rows[served.model] = path if own == served else found[1], dataclasses.replace(served, served=True)
    return dict(rows[name] for name in MODELS if name in rows)


def nothing_in(models: Path) -> DigitsError:
    """Give the error of a command that needs a trained model where `gather` finds none."""
    return DigitsError(f"{models}: no trained model there. Train with: digits train --models {shown(models)}")


def _readable(version_dir: Path) -> Result | None:
    try:
        return dataclasses.replace(own_result(version_dir), served=False)
    except DigitsError as error:
        note(f"left out: {error}")
        return None


def served_result(models: Path) -> Result | None:
    """Give the row of the model that is served as `digits`; None where nothing is. Raises DigitsError."""
    found = latest_version(models / MODEL)
    return own_result(found[1]) if found else None


def of_seeds(rows: list[Result]) -> Result:
    """Give the best row of the same model trained with several seeds, with the accuracies of all."""
    accuracies = [(row.val_accuracy, row.accuracy) for row in sorted(rows, key=lambda row: row.seed)]
    return dataclasses.replace(best(rows), seed_accuracies=accuracies)


def best(rows: list[Result]) -> Result:
    """Choose by validation, distorted: the most accurate, of equals the one with the lower loss, never by test figures.

    Of the images as they are a good model reads some 20 wrongly, four more or less by chance. Distorted ten times they
    tell more: one seed each of E and G made 21 and 24 errors, but 35.8 and 26.9 then (docs/accuracy.md).
    An ensemble computes as much as its members together: it is chosen only when it makes fewer errors than the best
    single model by more than a standard error, the root of their number (the rule of Breiman et al. 1984).
    """
    first, *others = ranked(rows)
    single = next((row for row in others if row.model != ENSEMBLE), first)
    earned = single.distorted_errors - first.distorted_errors > math.sqrt(single.distorted_errors)
    return first if first.model != ENSEMBLE or earned else single


def ranked(rows: list[Result]) -> list[Result]:
    """Sort by what `best` chooses by, the best first."""
    return sorted(rows, key=lambda row: (-row.distorted_accuracy, row.val_loss))
