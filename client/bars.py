"""Bars on two opposite sides of a picture, as a film's frame or a picture that was made square has them: cut off."""

import numpy as np

from client.grey import Grey
from client.page import Page

SAME, FEW = 0.1, 0.02
"""A bar varies by no more of 256 levels, but for so much of a column, to which the noise of a JPEG file adds."""
SOFT = 3
"""Pixels of the soft edge of a bar."""
FULL = 0.88
"""Part of what is between the bars, and of the columns at its edges, that differs from them; of a bold 0 less does."""
INKED = 0.1
"""Least range of brightness between the bars: a bold 1 from edge to edge has none within it."""
NARROWEST, SMALLEST = 0.3, 16
"""Width of what is between the bars, of its height and in pixels; what is narrower may be a stroke."""


def without_bars(grey: Grey) -> Page:
    """Mends letterboxes: gives what is between bars of one tone; any other picture stays as it is."""
    across = _between(grey) or slice(0, grey.shape[1])
    down = _between(grey[:, across].T) or slice(0, len(grey))
    return Page(grey[down, across], down.start, across.start)


def _between(grey: Grey) -> slice | None:
    """Give the columns between a bar on the left and one on the right; None where there are none, mostly at once."""
    sides = grey[:, [0, -1]]
    if np.ptp(sides) > 2 * SAME:
        return None
    other = abs(grey - np.median(sides)) > SAME
    share = other.mean(0)
    full = np.flatnonzero(share > FULL)
    if not len(full):
        return None
    left, right = int(full[0]), int(full[-1]) + 1
    bars = [*share[: max(1, left - SOFT)], *share[min(right + SOFT, len(share) - 1) :]]
    is_wide = right - left > max(SMALLEST, NARROWEST * len(grey)) and other[:, left:right].mean() > FULL
    if not is_wide or max(bars) > FEW or np.ptp(grey[:, left + SOFT : right - SOFT]) < INKED:
        return None
    return slice(left + 1, right - 1)
