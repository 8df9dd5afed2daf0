"""A box drawn or printed around the digit: where its inside is. Its lines may be broken, and cross at the corners."""

from collections.abc import Iterator

import numpy as np

from client.regions import Mask, Region, box_of, paint

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
SMALLEST = 0.25
"""Length of a frame, of the picture's."""
EDGE = 2
"""Pixels of the soft edge of a line."""

Window = tuple[slice, slice]
"""Rows and columns."""


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
    return None


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
