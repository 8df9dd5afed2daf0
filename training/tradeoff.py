"""What accuracy costs: pictures of it against the size of the models and against the time of their training."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from training.figures import INK, OURS, PUBLISHED, SERVED, Picture, blank, error_rate, plain, scale_errors, ticks
from training.results import Result

Name = tuple[float, float, str, str]
"""Where a point is, its name, and the colour of it."""
Box = NDArray[np.float64]
"""A lower left and an upper right corner, in points."""
Place = tuple[float, float, str]
"""How far right of a point its name is, how far up, and which of its sides is there."""
_BESIDE: list[Place] = [(x, y, side) for y in (5, -12, 16, -23, 27, -34) for x, side in ((7, "left"), (-7, "right"))]
_WIDE, _HIGH, _MARK = 7, 8, 3  # points: a letter of a name, and half of a mark


def against_parameters(rows: list[Result]) -> Picture:
    """Draw test accuracy against the number of parameters, ours and the published."""
    figure, axes = blank("parameters (log scale)", "test accuracy, %")
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
    """Draw test accuracy against the processor's time for the training."""
    figure, axes = blank("training time on one core, s (log scale)", "test accuracy, %")
    _label(axes, _points(axes, [(max(row.core_seconds, 0.1), row) for row in rows]))
    _legend(axes, rows, published=False)
    said = "; ".join(f"{_said(row)} in {row.core_seconds:.0f} s" for row in rows)
    return Picture("time", "Accuracy against training time", f"Test accuracy against training time: {said}.", figure)


def _points(axes: Axes, points: list[tuple[float, Result]]) -> list[Name]:
    """Draw the mean over the seeds, with a bar of one standard deviation to each side; give the names to write."""
    for x, row in points:
        mean, deviation, _ = row.spread
        error = error_rate(mean)
        bars = [[error - error_rate(mean + deviation)], [error_rate(mean - deviation) - error]]
        axes.errorbar(x, error, yerr=bars, fmt="o", color=SERVED if row.served else OURS, capsize=3, linewidth=1)
    places = [x for x, _ in points]
    low, high = min(places) / 1.6, max(places) * 1.6  # wide enough for a mark, whatever it is
    axes.set(xscale="log", xlim=(low, high))
    ticks(axes.xaxis, _digits(high / low), lambda value: f"{value:,g}" if value < 1e6 else f"{value / 1e6:g} M")
    axes.xaxis.set_minor_locator(LogLocator(subs=range(2, 10), numticks=50))
    axes.xaxis.set_minor_formatter(NullFormatter())
    scale_errors(axes)
    plain(axes)
    return [(x, error_rate(row.spread[0]), row.model, INK) for x, row in points]


def _digits(ratio: float) -> tuple[float, ...]:
    """Give the digits to mark on an axis from one value to so many times it: as many as have room for their numbers."""
    rooms = {3: (1, 1.5, 2, 3, 4, 5, 6, 8), 5: (1, 1.5, 2, 3, 4, 5, 7), 10: (1, 2, 3, 5)}
    return next((digits for limit, digits in rooms.items() if ratio < limit), (1, 2, 5))


def _label(axes: Axes, names: Iterable[Name]) -> None:
    """Write a name beside each point, where the fewest marks, bars and other names are.

    From left to right, so that of two neighbours the left one has its name to the left.
    """
    drawn = _drawn(axes)
    taken = [*drawn]
    for x, y, name, color in sorted(names):
        at = _in_points(axes, (x, y))
        right, up, side = place = min(_places(at, drawn), key=lambda place: _crowd(at, place, name, taken))
        taken.append(_box(at, place, name))
        axes.annotate(name, (x, y), (right, up), textcoords="offset points", ha=side, color=color)


def _drawn(axes: Axes) -> list[Box]:
    """Give where marks and bars are."""
    figure: Any = axes.figure
    figure.draw_without_rendering()  # or the layout would move them afterwards
    bars: Any = axes.collections
    lines = [*(line.get_xydata() for line in axes.lines), *(ends for bar in bars for ends in bar.get_segments())]
    places = [_in_points(axes, line) for line in lines]
    return [np.array([place.min(0), place.max(0)]) for place in places]


def _places(at: Any, drawn: list[Box]) -> list[Place]:
    """Give where a name may be, the best first: beside its point, at the ends of its bar, and farther up or down."""
    own = np.array([box for box in drawn if _overlap(_around((at, at)), box)])
    low, high = own[:, 0, 1].min() - at[1], own[:, 1, 1].max() - at[1]
    return [*_BESIDE[:4], (0, high + 5, "center"), (0, low - 5 - _HIGH, "center"), *_BESIDE[4:]]


def _in_points(axes: Axes, place: Any) -> NDArray[np.float64]:
    return axes.transData.transform(place) * 72 / axes.figure.dpi


def _box(at: Any, place: Place, name: str) -> Box:
    right, up, side = place
    width = _WIDE * len(name)
    left = right - width * {"left": 0, "center": 0.5, "right": 1}[side]
    return np.array([at + (left, up), at + (left + width, up + _HIGH)])


def _crowd(at: Any, place: Place, name: str, taken: list[Box]) -> int:
    """Count what a name would cover, double, and what would be between it and its point."""
    box = _box(at, place, name)
    way = np.array([np.minimum(box[0], at), np.maximum(box[1], at)])
    way[:, 0] += 1, -1  # what is less than a point to the side is on neither
    return sum(2 * _overlap(_around(box), other) + _overlap(way, other) for other in taken)


def _around(box: Any) -> Box:
    return np.array([box[0] - _MARK, box[1] + _MARK])


def _overlap(box: Box, other: Box) -> bool:
    return bool((box[0] < other[1]).all() and (other[0] < box[1]).all())


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
