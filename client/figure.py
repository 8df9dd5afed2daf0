"""The axes of a figure that a program has drawn: the upright rectangle that is the picture.

Around it are a title, ticks and numbers, and paper that white ink at its edge would join.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from client.grey import Grey
from client.regions import Mask, Window

CHANGE = 0.05
"""What differs more from the pixel beside it is on an edge."""
SHORTEST, SMALLEST = 0.25, 24
"""Length of the sides of axes, of the picture's shorter side, and in pixels: eight squares of three."""
SQUARE, MOST = 0.8, 0.5
"""How long their shorter side is, of the longer, and each of all that is drawn, of which two side by side have less."""
SAME, SOFT = 2, 3
"""Pixels by which the ends of two opposite sides differ, and of a side's soft line."""
AROUND = 0.6
"""So much of each side has an edge, and three corners have: ink as light as what is around may reach the rest."""


def axes(grey: Grey) -> Iterator[Window]:
    """Give what is within axes, found by their upper and lower side, then by the other two; of most pictures nothing.

    Ink at the edge may be as light as what is around, and then has two of the sides in parts.
    """
    down, across = (np.abs(np.diff(grey, axis=axis)) > CHANGE for axis in (0, 1))
    level, upright = _between(down), _between(across.T)
    windows = [window for window in (level, upright and upright[::-1]) if window]
    if windows:
        edges = np.pad(down, ((0, 1), (0, 0))) | np.pad(across, ((0, 0), (0, 1)))
        yield from (window for window in windows if _is_large(window, edges) and _is_closed(window, edges))


def _between(changes: Mask) -> Window | None:
    """Give the rows and columns between the first and the last of the longest lines that end at the same columns."""
    least = max(SMALLEST, SHORTEST * min(changes.shape))
    rows = np.flatnonzero(np.count_nonzero(changes, axis=1) > least)
    if len(rows) < 2:
        return None
    starts, ends = _longest(changes[rows])
    best = int(np.argmax(ends - starts))
    alike = rows[(abs(starts - starts[best]) <= SAME) & (abs(ends - ends[best]) <= SAME)]
    if min(np.ptp(alike), ends[best] - starts[best]) <= least:
        return None
    return slice(int(alike[0]) + 2, int(alike[-1])), slice(int(starts[best]) + 1, int(ends[best]) - 1)


def _longest(lines: Mask) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Give where the longest stretch of each row begins and ends; a tick, which goes on across the line, is no end."""
    wide = np.pad(lines, ((0, 0), (2, 2)))
    wide = wide[:, :-2] | wide[:, 1:-1] | wide[:, 2:]
    at = np.arange(wide.shape[1])
    lengths = at - np.maximum.accumulate(np.where(wide, -1, at), axis=1)
    last = lengths.argmax(1)
    return last - lengths.max(1) + 1, last - 1


def _is_large(window: Window, edges: Mask) -> bool:
    sides = [side.stop - side.start for side in window]
    drawn = [np.ptp(np.flatnonzero(edges.any(axis))) for axis in (1, 0)]
    is_most = all(side > MOST * length for side, length in zip(sides, drawn, strict=True))
    return is_most and min(sides) > SQUARE * max(sides)


def _is_closed(window: Window, edges: Mask) -> bool:
    """Tell whether there is an edge nearly all around, with three corners."""
    rows, columns = (slice(side.start, side.stop + 2 * SOFT) for side in window)
    part = np.pad(edges, SOFT)[rows, columns]
    sides = [np.rot90(part, turn)[: 2 * SOFT, 2 * SOFT : -2 * SOFT].any(0) for turn in range(4)]  # clockwise
    starts, ends = np.array([side[[0, -1]] for side in map(np.asarray, sides)]).T
    corners = starts & np.roll(ends, 1)
    return all(side.mean() > AROUND for side in sides) and int(corners.sum()) >= 3
