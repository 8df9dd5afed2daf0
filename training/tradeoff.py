"""What accuracy costs: pictures of it against the size of the models and against the time of their training."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from training.figures import INK, OURS, PUBLISHED, SERVED, Picture, blank, error_rate, plain, scale_errors, ticks
from training.results import Result

Name = tuple[float, float, str, str]
"""Where a point is, its name, and the colour of it."""
_PLACES = [(x, y, side) for y in (5, -12, 16, -23, 27, -34) for x, side in ((7, "left"), (-7, "right"))]


def against_parameters(rows: list[Result]) -> Picture:
    """Draw test accuracy against the number of parameters, ours and the published."""
    figure, axes = blank("parameters", "test accuracy, %")
    published = [(row, error_rate(row.published_accuracy)) for row in rows if row.published_accuracy]
    for row, error in published:
        ends = [error, error_rate(row.spread[0])]
        axes.plot([row.parameters] * 2, ends, color=PUBLISHED, linewidth=0.8, linestyle=":")
        axes.plot(row.parameters, error, "o", color=PUBLISHED, fillstyle="none", markersize=6)
    names = _points(axes, [(row.parameters, row) for row in rows])
    _label(axes, names + [(row.parameters, error, row.model, PUBLISHED) for row, error in published])
    _legend(axes, rows, bool(published))
    said = "; ".join(f"{_said(row)} with {row.parameters:,}{_published(row)}" for row in rows)
    return Picture("parameters", "Accuracy against parameters", f"Test accuracy against parameters: {said}.", figure)


def against_time(rows: list[Result]) -> Picture:
    """Draw test accuracy against the time of the training."""
    figure, axes = blank("training time, s", "test accuracy, %")
    _label(axes, _points(axes, [(max(row.seconds, 0.1), row) for row in rows]))
    _legend(axes, rows, published=False)
    said = "; ".join(f"{_said(row)} in {row.seconds:.0f} s" for row in rows)
    return Picture("time", "Accuracy against training time", f"Test accuracy against training time: {said}.", figure)


def _points(axes: Axes, points: list[tuple[float, Result]]) -> list[Name]:
    """Draw the mean over the seeds, with a bar of one standard deviation to each side; give the names to write."""
    for x, row in points:
        mean, deviation, _ = row.spread
        error = error_rate(mean)
        bars = [[error - error_rate(mean + deviation)], [error_rate(mean - deviation) - error]]
        axes.errorbar(x, error, yerr=bars, fmt="o", color=SERVED if row.served else OURS, capsize=3, linewidth=1)
    places = [x for x, _ in points]
    axes.set(xscale="log", xlim=(min(places) / 1.6, max(places) * 1.6))  # wide enough for a mark, whatever it is
    ticks(axes.xaxis, (1, 2, 5), lambda value: f"{value:,g}" if value < 1e6 else f"{value / 1e6:g} M")
    scale_errors(axes)
    plain(axes)
    return [(x, error_rate(row.spread[0]), row.model, INK) for x, row in points]


def _label(axes: Axes, names: Iterable[Name]) -> None:
    """Write a name beside each point, where no other name is yet."""
    taken: list[Any] = []
    for x, y, name, color in names:
        at = axes.transData.transform((x, y)) * 72 / axes.figure.dpi  # in points, as places are
        free = [place for place in _PLACES if all(np.abs(at + place[:2] - other).max() > 10 for other in taken)]
        right, up, side = (free or _PLACES)[0]
        taken.append(at + (right, up))
        axes.annotate(name, (x, y), (right, up), textcoords="offset points", ha=side, color=color)


def _legend(axes: Axes, rows: list[Result], published: bool) -> None:
    if any(row.served for row in rows):
        axes.plot([], [], "o", color=SERVED, label="served")
    if not all(row.served for row in rows):
        axes.plot([], [], "o", color=OURS, label="ours")
    if published:
        axes.plot([], [], "o", color=PUBLISHED, fillstyle="none", label="published")
    axes.legend(frameon=False, loc="lower right", fontsize=9)


def _said(row: Result) -> str:
    return f"{row.model} {row.spread[0]:.2%}"


def _published(row: Result) -> str:
    return f" (published {row.published_accuracy:.2%})" if row.published_accuracy else ""
