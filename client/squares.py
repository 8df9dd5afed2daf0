"""Pixels that were made larger, each a square now: found by where the picture changes, and made pixels again."""

import numpy as np
from numpy.typing import NDArray

from client.figure import CHANGE, SQUARE, axes
from client.grey import Grey
from client.paper import border

DENSEST = 0.6
"""Part of the lines at which there are edges: a half of squares of four pixels with soft edges, all of curves."""
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
OWN = 0.6
"""How much of a figure's border differs from what is around it."""
FEWEST_OF_FIGURE, LARGE = 8, 16
"""Squares of a figure's side, and from how many on its border may be all paper, as MNIST's is; fonts have fewer."""
HALVED = 0.75
"""A margin that is no multiple of the squares can only be had in squares of half their side or less."""
MARGIN = 0.2
"""Paper around a digit, of its length, as MNIST's digits have."""
ODD = 0.2
"""How far the shorter side is from a whole number of squares, at most."""


def native(grey: Grey) -> Grey | None:
    """Mends enlarged pixels: gives the picture, or the part of it that they fill, with a pixel for each square.

    Gives None for any other picture, and for most at once.
    """
    small = _alone(grey)
    return _in_axes(grey) if small is None else small


def _in_axes(grey: Grey) -> Grey | None:
    """Mends figures with titles and numbers: gives the squares within their axes, with a pixel for each."""
    plates = (grey[window] for window in axes(grey))
    found = (_in_squares(plate) for plate in plates if _may_be_squares(plate))
    return next((small for small in found if small is not None and max(small.shape) >= FEWEST_OF_FIGURE), None)


def _may_be_squares(grey: Grey) -> bool:
    return _span(grey) is not None and _span(grey.T) is not None


def _alone(grey: Grey) -> Grey | None:
    """Give squares that fill the picture, or all of it but for a margin."""
    down, across = _span(grey), _span(grey.T)
    if down is None or across is None:
        return None
    whole = _in_squares(grey)
    margin = border(grey)
    if np.ptp(margin) > CHANGE:
        return whole
    plate = grey[down, across]
    within = _in_squares(plate)
    if within is None or _is_figure(within, margin[0]):
        return whole if within is None else within
    is_finer = whole is None or max(grey.shape) / max(whole.shape) < HALVED * max(plate.shape) / max(within.shape)
    return _framed(within, margin[0]) if is_finer else whole


def _in_squares(grey: Grey) -> Grey | None:
    """Give a picture with a pixel for each square, of as few as it may be; None if they are none."""
    counts = range(FEWEST, min(MOST, max(grey.shape) // SMALLEST) + 1)
    return next((small for small in (_sampled(grey, count) for count in counts) if small is not None), None)


def _is_figure(small: Grey, margin: np.float32) -> bool:
    """Tell whether what is within a margin has a paper of its own.

    A digit has ink at fewer corners, or fewer squares, or as a 0 may have it along all edges.
    """
    own = np.abs(small - margin) > CHANGE
    if min(own.shape) < SQUARE * max(own.shape) or max(own.shape) < FEWEST_OF_FIGURE:
        return False
    is_even = own[:: len(own) - 1, :: own.shape[1] - 1].sum() >= 3 and border(own).mean() > OWN
    return bool(is_even and (max(own.shape) > LARGE or np.ptp(border(small)) > CHANGE))


def _framed(small: Grey, margin: np.float32) -> Grey:
    return np.pad(small, max(1, round(MARGIN * max(small.shape))), constant_values=margin)


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
    lines = grey[_centres(len(grey), side)]
    small = lines[:, _centres(grey.shape[1], side)]
    if np.abs(lines[:, across] - small[:, columns]).max() >= ROUGH:  # as in most pictures, soon known
        return None
    unlike = np.abs(grey[np.ix_(down, across)] - small[np.ix_(rows, columns)])
    steps = np.abs(np.diff(small, axis=0)).mean() + np.abs(np.diff(small, axis=1)).mean()
    return small if unlike.max() < ROUGH and unlike.mean() < UNLIKE * steps else None


def _centres(length: int, side: float) -> NDArray[np.intp]:
    return ((np.arange(round(length / side)) + 0.5) * side).astype(int)


def _middles(length: int, side: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Give the lines in the middle of squares, and the number of the square of each."""
    square = (np.arange(length) + 0.5) / side
    inner = np.flatnonzero((np.abs(square % 1 - 0.5) < MIDDLE) & (square < round(length / side)))
    return inner, square[inner].astype(int)
