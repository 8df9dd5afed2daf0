"""`digits report`: what all models of a root can do, as one page to look at, print or mail, and its pictures.

Reads only what the versions carry (benchmark.json, evaluation.json), and MNIST for the images that were misread.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from client.console import counted, require
from client.errors import DigitsError
from serving.versions import EVALUATION_FILE, read_json, why
from training import card, confusion, data, results
from training.page import Section, render
from training.results import Result

PAGE = "report.html"


@dataclass(frozen=True)
class Trained:
    """A model's row of the table, what benchmark.json says of its making, and evaluation.json, which older versions do
    not have."""

    result: Result
    benchmark: dict[str, Any]
    evaluation: dict[str, Any]


def write(models: Path, out: Path, source: Path | None = None) -> list[Path]:
    """Write report.html and its pictures into `out`, each file whole or not at all; give their paths, the page first.

    `source` is where MNIST is read from. Raises DigitsError when there is no model, or a version cannot be read.
    """
    trained = gather(models)
    if not trained:
        raise results.nothing_in(models)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".report-", dir=out) as folder:
        staging = Path(folder)
        sections = list(_sections(trained, staging, source))
        (staging / PAGE).write_text(render([one.result for one in trained], sections), "utf-8")
        names = [PAGE, *(image.path.name for section in sections for image in section.images)]
        return [(staging / name).replace(out / name) for name in reversed(names)][::-1]


def gather(models: Path) -> list[Trained]:
    """Collect the version that stands for each model in a model root."""
    return [
        Trained(row, results.benchmark(version_dir), _evaluation(version_dir))
        for version_dir, row in results.gather(models).items()
    ]


def _evaluation(version_dir: Path) -> dict[str, Any]:
    path = version_dir / EVALUATION_FILE
    if not path.exists():
        return {}
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise DigitsError(f"{path}: not readable ({why(error, path)}). Delete this version or export again.") from None


def _sections(trained: list[Trained], staging: Path, source: Path | None) -> Iterator[Section]:
    require("training", "matplotlib")
    from training import figures, tradeoff

    rows = [one.result for one in trained]
    pictures = [tradeoff.against_parameters(rows), tradeoff.against_time(rows)]
    if matrices := {one.result.model: matrix for one in trained if (matrix := one.evaluation.get("confusion"))}:
        pictures.append(figures.per_digit(matrices))
    yield Section("All models", "", [picture.save(staging) for picture in pictures])
    images = data.load(source).unseen if any(one.evaluation for one in trained) else np.empty(0, np.uint8)
    for one in trained:
        drawn = figures.of_model(one.result.model, one.evaluation, images)
        yield Section(_title(one.result), _text(one), [picture.save(staging) for picture in drawn])


def _title(row: Result) -> str:
    return f"{row.model}: {row.description}"


def _text(one: Trained) -> str:
    row = one.result
    counts = f"{counted(row.images, 'image')}, {counted(row.epochs, 'epoch')}"
    made = f"{counts}, {row.core_seconds:.0f} core seconds on {row.device}."
    if matrix := one.evaluation.get("confusion"):
        return f"{made} Confused most often: {confusion.named(matrix, 3)}."
    lost = "confusion matrix" if one.evaluation else "evaluation"
    return f"{made} This version was exported without its {lost}; pictures need: {card.command(row, one.benchmark)}"
