"""Pixels that were made larger, each a square now: found by where the picture changes, and made pixels again."""

from itertools import product

import numpy as np
from numpy.typing import NDArray

from client.grey import Grey
from client.paper import border

CHANGE = 0.05
"""What differs more from the pixel beside it is on the edge of a square."""
DENSEST = 0.6
"""Part of the lines at which there are such edges: a half of squares of four pixels with soft edges, all of curves."""
FEWEST, MOST = 5, 64
"""Squares along the longer side."""
SMALLEST = 3
"""Pixels of a square's side."""
ROUGH = 0.15
"""What differs more within the middle of a square is a stroke, however little of the picture it takes."""
UNLIKE = 0.02
"""How much the middle of a square varies, of the steps from square to square; of a smooth picture it is a sixteenth."""
MIDDLE = 0.35
"""The middle is this near to a square's centre, of its side."""
SQUARE, OWN = 0.8, 0.6
"""How wide a figure is at least, of its height, and how much of its border differs from the margin around it."""
ODD = 0.2
"""How far the shorter side is from a whole number of squares, at most."""


def native(grey: Grey) -> Grey | None:
    """Mends enlarged pixels: gives the picture, or the part of it that they fill, with a pixel for each square.

    Gives None for any other picture, and for most at once.
    """
    down, across = _span(grey), _span(grey.T)
    if down is None or across is None:
        return None
    for part, count in product(_parts(grey, grey[down, across]), range(FEWEST, MOST + 1)):
        if max(part.shape) >= SMALLEST * count and (small := _sampled(part, count)) is not None:
            return small
    return None


def _parts(grey: Grey, within: Grey) -> list[Grey]:
    """Give what may be squares: all, and what is within an even margin, first where it has a paper of its own."""
    margin = border(grey)
    if np.ptp(margin) > CHANGE:
        return [grey]
    unlike = np.abs(border(within) - margin[0]) > CHANGE
    is_figure = min(within.shape) > SQUARE * max(within.shape) and unlike.mean() > OWN  # a 1 is narrower
    return [within, grey] if is_figure else [grey, within]


def _span(grey: Grey) -> slice | None:
    """Give the rows from the first change to the last; None where there is none, or more than squares have."""
    changes = np.flatnonzero((np.abs(np.diff(grey, axis=0)) > CHANGE).any(1)) + 1
    if not len(changes) or len(changes) > DENSEST * (np.ptp(changes) + 1):
        return None
    return slice(int(changes[0]), int(changes[-1]))


def _sampled(grey: Grey, count: int) -> Grey | None:
    """Give the middles of so many squares along the longer side; None if they are none."""
    side = max(grey.shape) / count
    if min(grey.shape) < 1.5 * side or any(abs(length / side - round(length / side)) > ODD for length in grey.shape):
        return None
    (down, rows), (across, columns) = (_middles(length, side) for length in grey.shape)
    middles = grey[np.ix_(down, across)]
    small = grey[np.ix_(*(_centres(length, side) for length in grey.shape))]
    unlike = np.abs(middles - small[np.ix_(rows, columns)])
    steps = np.abs(np.diff(small, axis=0)).mean() + np.abs(np.diff(small, axis=1)).mean()
    return small if unlike.max() < ROUGH and unlike.mean() < UNLIKE * steps else None


def _centres(length: int, side: float) -> NDArray[np.intp]:
    return ((np.arange(round(length / side)) + 0.5) * side).astype(int)


def _middles(length: int, side: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Give the lines in the middle of squares, and the number of the square of each."""
    square = (np.arange(length) + 0.5) / side
    inner = np.flatnonzero((np.abs(square % 1 - 0.5) < MIDDLE) & (square < round(length / side)))
    return inner, square[inner].astype(int)
