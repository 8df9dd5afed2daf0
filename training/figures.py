"""The pictures of the report and of the model card, drawn by matplotlib without a display.

All are as wide as a phone shows them, on white: the report's style sheet turns them dark. Error rates are drawn on a
logarithmic axis, because 99.7 % is as far from 99.4 % as 99.4 % is from 98.8 %.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from client.console import counted
from training import confusion
from training.data import Array
from training.page import Image
from training.results import HALF

WIDTH = 4.8  # inches
DOTS = 160  # an inch
OURS, SERVED, PUBLISHED, INK = "#1f6fb4", "#c2410c", "#777777", "#222222"
SHOWN = 16
"""How many mistakes one picture shows."""
_COLUMNS, _WIDE, _HIGH = 4, 40, 38  # of that picture: mistakes side by side, and the pixels of each with its words
_WRONG = LinearSegmentedColormap.from_list("wrong", ["white", "#f7a35c", SERVED])
_DARK = 0.179  # of this luminance black and white differ alike, by 4.6 to 1

Evaluation = dict[str, Any]

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # where it caches its fonts is not news for anybody


@dataclass(frozen=True)
class Picture:
    """A drawing, the name of its file without `.png`, its title, and what it shows in words."""

    name: str
    title: str
    alt: str
    figure: Figure

    def save(self, directory: Path) -> Image:
        """Write the PNG file."""
        path = directory / f"{self.name}.png"
        self.figure.savefig(path, dpi=DOTS)
        return Image(path, self.title, self.alt)


def of_model(model: str, evaluation: Evaluation, images: Array) -> list[Picture]:
    """Draw what evaluation.json says of one model, as far as it says it."""
    drawn = []
    if evaluation.get("history"):
        drawn.append(curves(model, evaluation["history"]))
    if evaluation.get("confusion"):
        drawn.append(confusions(model, evaluation["confusion"]))
    if evaluation.get("mistakes"):
        drawn.append(mistakes(model, evaluation["mistakes"], images))
    return drawn


def per_digit(matrices: dict[str, confusion.Matrix]) -> Picture:
    """Draw the accuracy of each model on each digit, from the confusion matrix of each."""
    table = 100 * np.array([confusion.accuracies(matrix) for matrix in matrices.values()])
    figure, axes = blank("digit", "", height=1.1 + 0.3 * len(table))
    _cells(axes, 100 - table, [[f"{value:.1f}".replace("100.0", "100") for value in row] for row in table])
    axes.set_yticks(range(len(table)), [*matrices])
    lowest = [f"{name} {row.min():.1f} % of {row.argmin()}" for name, row in zip(matrices, table, strict=True)]
    alt = f"Test accuracy of each model on each digit. Lowest: {'; '.join(lowest)}."
    return Picture("digits", "Accuracy of each digit, %", alt, figure)


def curves(model: str, history: list[dict[str, float]]) -> Picture:
    """Draw loss and error over the epochs, of training and of validation."""
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    epochs = range(1, len(history) + 1)
    for prefix, label, color in (("", "training", PUBLISHED), ("val_", "validation", OURS)):
        above.plot(epochs, [row[f"{prefix}loss"] for row in history], ".-", color=color, label=label)
        below.plot(epochs, [error_rate(row[f"{prefix}accuracy"]) for row in history], ".-", color=color)
    above.set(yscale="log", ylabel="loss")
    ticks(above.yaxis, (1, 2, 5), lambda loss: f"{loss:g}")
    above.legend(frameon=False)
    below.set(xlabel="epoch", ylabel="accuracy, %")
    scale_errors(below)
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (above, below):
        plain(axes)
    first, last, length = history[0], history[-1], counted(len(history), "epoch")
    alt = (
        f"Learning curves of model {model}, {length}: validation loss {first['val_loss']:.3f} to "
        f"{last['val_loss']:.3f}, validation accuracy {first['val_accuracy']:.2%} to {last['val_accuracy']:.2%}."
    )
    return Picture(f"{model}-curves", "Learning curves", alt, figure)


def confusions(model: str, matrix: confusion.Matrix) -> Picture:
    """Draw the confusion matrix; only wrong answers are coloured."""
    figure, axes = blank("answer", "digit", height=4.4)
    counts = np.array(matrix)
    wrong = counts * (1 - np.eye(len(counts), dtype=int))
    _cells(axes, wrong, [[str(count) if count else "" for count in row] for row in counts])
    axes.set_yticks(range(len(counts)))
    alt = f"Confusion matrix of model {model}, {counted(wrong.sum(), 'error')}. {confusion.named(matrix, 10)}."
    return Picture(f"{model}-confusion", "Confusion matrix", alt, figure)


def mistakes(model: str, found: list[dict[str, Any]], images: Array) -> Picture:
    """Draw the mistakes of which a model was surest; `images` are the 10,000 that it was not trained on."""
    found = found[:SHOWN]
    lines = -(-len(found) // _COLUMNS)
    sheet = np.full((_HIGH * lines, _WIDE * _COLUMNS), 255, np.uint8)
    figure = Figure(figsize=(WIDTH, WIDTH * sheet.shape[0] / sheet.shape[1]))
    axes = figure.add_axes((0, 0, 1, 1), frameon=False, xticks=[], yticks=[])
    for place, mistake in enumerate(found):
        top, left = _HIGH * (place // _COLUMNS), _WIDE * (place % _COLUMNS)
        sheet[top + 9 : top + 37, left + 6 : left + 34] = 255 - images[mistake["index"]]
        text = f"{mistake['digit']} → {mistake['answer']}  {mistake['probability']:.0%}"
        axes.text(left + _WIDE / 2, top + 5, text, ha="center", va="center", fontsize=9, color=INK)
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=255, extent=(0, sheet.shape[1], sheet.shape[0], 0))
    said = "; ".join(f"{row['digit']} read as {row['answer']}, {row['probability']:.1%} sure" for row in found)
    return Picture(f"{model}-mistakes", "Surest mistakes", f"Images that model {model} misread: {said}.", figure)


def blank(x: str, y: str, height: float = 3.6) -> tuple[Figure, Axes]:
    """Make a figure of one pair of axes with these labels."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y)
    return figure, axes


def plain(axes: Axes) -> None:
    """Leave only what helps to read the points."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def error_rate(accuracy: float) -> float:
    """Give the error in per cent; of none in 5,000 images, half of one, which a logarithm can show."""
    return 100 * max(1 - accuracy, 0.5 / HALF)


def scale_errors(axes: Axes) -> None:
    """Make the upright axis, of error rates, one of accuracies: logarithmic, the best at the top."""
    axes.set_yscale("log")
    low, high = sorted(axes.get_ylim())
    axes.set_ylim(min(high * 1.15, 100), low / 1.25)
    digits = (1, 2, 3, 5) if high > 4 * low else (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
    ticks(axes.yaxis, digits, lambda error: f"{100 - error:.6g}")


def luminance(color: Any) -> float:
    """Give how bright a colour is to the eye, from 0 to 1 (WCAG 2)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(color)]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def ticks(axis: Axis, digits: Sequence[float], text: Callable[[float], str]) -> None:
    """Mark a logarithmic axis at these digits of each power of ten."""
    axis.set_major_locator(LogLocator(subs=digits, numticks=50))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))


def _cells(axes: Axes, values: Any, texts: list[list[str]]) -> None:
    """Draw a table of ten columns, darker where `values` are higher."""
    highest = max(float(values.max()), 1e-9)
    axes.imshow(values, cmap=_WRONG, vmin=0, vmax=highest, aspect="auto")
    for (line, column), value in np.ndenumerate(values):
        color = "white" if luminance(_WRONG(value / highest)) < _DARK else "black"
        axes.text(column, line, texts[line][column], ha="center", va="center", fontsize=8, color=color)
    axes.set_xticks(range(10))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
