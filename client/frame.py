"""A box drawn or printed around the digit: where its inside is. Its lines may be broken, and cross at the corners."""

from collections.abc import Iterator

import numpy as np

from client.grey import Grey
from client.paper import lightest
from client.regions import Mask, Region, Window, box_of, find_regions, paint

EMPTIEST = 0.3
"""What fills so little of its own box may be a frame, ..."""
THINNEST = 0.25
"""... and what is so thin, of its length, one of its sides, ..."""
LONGEST = 0.5
"""... which is so long, of the longest."""
SIDE, STRAIGHT = 0.2, 0.85
"""Within this part of a frame each side runs along so much of it. Of a round 0 it is 0.8."""
MOST_INSIDE = 0.15
"""So much of a frame's own ink may lie within it, where a side slopes: more is a net of rules, or a digit on it."""
CELLS, INKED = 0.7, 0.33
"""So much of a row of boxes is within them, and so high, of a box, is a digit in one; print may be in the others."""
SMALLEST = 0.12
"""Length of a frame, of the picture's."""
EDGE = 2
"""Pixels of the soft edge of a line."""
PALE, DARK = 0.5, 0.3
"""A thin frame that is broken in the ink is whole in what is so pale, and so much of its way is ink: no button's is."""


def inside(regions: list[Region], shape: tuple[int, ...]) -> Window | None:
    """Give what is within a box of four nearly level sides, of one region or of some that lie around the others.

    It ends within the picture: what runs through it is ruled paper (client/rules.py).
    """
    for group in _groups([one for one in regions if not one.is_cut(shape)]):
        mask = paint(group, shape)
        rows, columns = box_of(mask)
        frame = mask[rows, columns]
        if max(frame.shape) <= SMALLEST * max(shape) or not _has_four_sides(frame):
            continue
        down, across = _within(frame), _within(frame.T)
        if np.count_nonzero(frame[down, across]) < MOST_INSIDE * np.count_nonzero(frame):
            return _moved(down, rows.start), _moved(across, columns.start)
        inner = [one for one in regions if one not in group]
        if cell := _filled_cell(mask, (rows, columns), inner):
            return cell
    return None


def inside_broken(ink: Grey, level: float) -> Window | None:
    """Mends frames of a pixel that fade in and out of the ink: gives what is within one that paler ink makes whole."""
    window = inside(find_regions(ink > PALE * level, 64), ink.shape)
    if window is None:
        return None
    down, across = (slice(max(0, side.start - 3 * EDGE), side.stop + 3 * EDGE) for side in window)
    dark = ink > level
    around = np.count_nonzero(dark[down, across]) - np.count_nonzero(dark[window])
    return window if around > DARK * 2 * sum(dark[window].shape) else None


def _filled_cell(mask: Mask, box: Window, inner: list[Region]) -> Window | None:
    """Mends boxes side by side of which one is filled in: gives what is within that one."""
    rows, columns = box
    frame = mask[box]
    cells = find_regions(~lightest(np.pad(frame, 1), 1), 64)  # a pixel thicker: a thin line that slopes has gaps
    cells = [one for one in cells if not one.is_cut(frame.shape)]
    filled = [one for one in cells if any(_holds(one, box, other) for other in inner)]
    if len(filled) != 1 or sum(one.area for one in cells) < CELLS * frame.size:
        return None
    down, across = _sides(filled[0], frame.shape)
    one_box = frame[down, across]
    down, across = _moved(_within(one_box), down.start), _moved(_within(one_box.T), across.start)
    return _moved(down, rows.start), _moved(across, columns.start)


def _holds(cell: Region, box: Window, digit: Region) -> bool:
    """Tell whether a digit lies within a cell of what is in a box."""
    top, left = (side.start for side in box)
    is_within = cell.top <= digit.top - top and digit.bottom - top <= cell.bottom
    is_within &= cell.left <= digit.left - left and digit.right - left <= cell.right
    return is_within and digit.height > INKED * cell.height


def _sides(cell: Region, shape: tuple[int, ...]) -> Window:
    """Give the rows and columns of a cell and of the lines around it."""
    height, width = shape
    down = slice(max(0, cell.top - 2 * EDGE), min(height, cell.bottom + 2 * EDGE))
    return down, slice(max(0, cell.left - 2 * EDGE), min(width, cell.right + 2 * EDGE))


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


def _groups(regions: list[Region]) -> Iterator[list[Region]]:
    """Give what may be a frame: a region, or all that are long and thin."""
    thin = [one for one in regions if one.area < EMPTIEST * one.width * one.height or _is_thin(one)]
    long = [one for one in thin if one.length > LONGEST * max(other.length for other in thin)]
    yield from ([one] for one in long if not _is_thin(one))
    if len(long) > 1:
        yield long


def _is_thin(region: Region) -> bool:
    return min(region.width, region.height) < THINNEST * region.length


def _has_four_sides(frame: Mask) -> bool:
    down, across = (max(1, round(SIDE * side)) for side in frame.shape)
    sides = frame[:down].any(0), frame[-down:].any(0), frame[:, :across].any(1), frame[:, -across:].any(1)
    return all(side.mean() > STRAIGHT for side in sides)


def _within(frame: Mask) -> slice:
    """Give the rows between the upper and the lower side."""
    return slice(_below(frame), len(frame) - _below(frame[::-1]))


def _below(frame: Mask) -> int:
    """Give the first row below the upper side, where that runs lowest but for its ends.

    What goes on below is one of the other two sides, which take a tenth of a small picture's columns.
    """
    side = frame[: max(1, round(SIDE * len(frame)))][::-1]
    lowest = len(side) - side.argmax(0)[side.any(0) & ~side[0]]
    return int(np.percentile(lowest, 90)) + EDGE if len(lowest) else len(side)
