"""Connected regions of a mask, by union of runs: NumPy finds the runs of ink, and those that touch are joined.

A run is a half-open stretch of a mask's rows written one after the other, each with a blank column behind it, so that
no run wraps.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Window = tuple[slice, slice]
"""Rows and columns."""
Runs = NDArray[np.intp]

CORNER = 50
"""The end of a corner is this part of the picture's side."""


@dataclass(frozen=True, eq=False)
class Region:
    """Pixels that hang together, corners included. The box is half-open: rows top..bottom, columns left..right."""

    starts: Runs
    ends: Runs
    top: int
    bottom: int
    left: int
    right: int
    area: int

    @property
    def height(self) -> int:
        """Rows of the box."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns of the box."""
        return self.right - self.left

    @property
    def length(self) -> int:
        """The longer side of the box."""
        return max(self.height, self.width)

    def is_cut(self, shape: tuple[int, ...]) -> bool:
        """Tell whether the edge of a picture of this shape, [height, width], cuts the region."""
        height, width = shape
        return self.top == 0 or self.left == 0 or self.bottom == height or self.right == width

    def has_corner(self, shape: tuple[int, ...]) -> bool:
        """Tell whether the region goes to the end of a corner of a picture, [height, width], but not across it."""
        height, width = shape
        if (self.top == 0) == (self.bottom == height) or (self.left == 0) == (self.right == width):
            return False
        reach = max(shape) // CORNER + 1
        down, across = (slice(reach) if first == 0 else slice(-reach, None) for first in (self.top, self.left))
        return bool(paint([self], shape)[down, across].any())

    def surrounds(self, other: "Region") -> bool:
        """Tell whether the other's box lies inside this one's, away from its sides."""
        across = self.left < other.left and other.right < self.right
        return across and self.top < other.top and other.bottom < self.bottom


def find_regions(mask: Mask, limit: int) -> list[Region]:
    """Split a mask [h, w] into its connected regions, the largest first, at most `limit` of them."""
    stride = mask.shape[1] + 1
    edges = np.flatnonzero(np.diff(np.pad(mask, ((0, 0), (0, 1))).ravel(), prepend=False, append=False))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return []
    labels = _join(starts, ends, stride)
    areas = np.bincount(labels, ends - starts)
    largest = np.argsort(-areas, kind="stable")[:limit]
    return [_region(starts[labels == label], ends[labels == label], stride) for label in largest if areas[label]]


def paint(regions: Iterable[Region], shape: tuple[int, ...]) -> Mask:
    """Give the mask of some regions."""
    height, width = shape
    edges = np.zeros(height * (width + 1) + 1, np.int8)
    for region in regions:
        edges[region.starts] += 1
        edges[region.ends] -= 1
    return edges[:-1].cumsum(dtype=np.int8).astype(bool).reshape(height, width + 1)[:, :-1]


def box_of(mask: Mask, margin: int = 0) -> Window:
    """Give the rows and columns that a mask takes, and `margin` more on each side."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    down, across = (slice(max(0, int(line[0]) - margin), int(line[-1]) + 1 + margin) for line in (rows, columns))
    return down, across


def _join(starts: Runs, ends: Runs, stride: int) -> Runs:
    """Give each run the number of the first run of its region."""
    parents = list(range(len(starts)))

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = run = parents[parents[run]]
        return run

    first = np.searchsorted(ends, starts + stride, "left")  # runs of the next row that reach under this one, ...
    last = np.searchsorted(starts, ends + stride, "right")  # ... also by a corner
    for run, (low, high) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        for below in range(low, high):
            a, b = root(run), root(below)
            parents[max(a, b)] = min(a, b)
    return np.array([root(run) for run in range(len(parents))])


def _region(starts: Runs, ends: Runs, stride: int) -> Region:
    left, widths = starts % stride, ends - starts
    rows = int(starts[0]) // stride, int(starts[-1]) // stride + 1
    return Region(starts, ends, *rows, int(left.min()), int((left + widths).max()), int(widths.sum()))
