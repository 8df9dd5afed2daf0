"""Shapes of regions at a small size: their holes, their corners and what is near them."""

import numpy as np

from client.paper import lightest
from client.regions import Mask, find_regions, paint

SMALLEST = 0.06
"""Area of a page, of the picture's."""
SOLID = 0.6
"""A page is mostly paper: ink and shadows take less than the rest."""
FULLEST = 0.87
"""How much of the smallest box around it, which may be turned, a page fills: it has corners, a blot has none."""


def largest(mask: Mask) -> Mask | None:
    """Give the largest region with all on it; None where it is too small for a page, or not mostly paper."""
    region = next(iter(find_regions(mask, 1)), None)
    if region is None or region.area < SMALLEST * mask.size:
        return None
    page = filled(paint([region], mask.shape))
    return page if region.area >= SOLID * np.count_nonzero(page) else None


def filled(mask: Mask) -> Mask:
    """Fill the holes: all that cannot be reached from beyond the picture."""
    beyond = np.pad(~mask, 1, constant_values=True)
    outside = next(region for region in find_regions(beyond, beyond.size) if region.top == region.left == 0)
    return ~paint([outside], beyond.shape)[1:-1, 1:-1]


def is_rectangle(mask: Mask, longest: float = np.inf, fullest: float = FULLEST) -> bool:
    """Tell whether a mask fills the smallest box around it, which may be turned and so many times as long as wide."""
    rows = np.flatnonzero(mask.any(1))
    ends = mask[rows].argmax(1), mask.shape[1] - mask[rows, ::-1].argmax(1)
    corners = np.concatenate([np.stack([x, y], 1) for x in ends for y in (rows, rows + 1)]).astype(np.float32)
    angles = np.deg2rad(np.arange(0, 90, 3))
    across = corners @ np.stack([np.cos(angles), np.sin(angles)])
    down = corners @ np.stack([-np.sin(angles), np.cos(angles)])
    widths, heights = np.ptp(across, 0), np.ptp(down, 0)
    best = int(np.argmin(widths * heights))
    short, long = sorted((float(widths[best]), float(heights[best])))
    return bool(np.count_nonzero(mask) > fullest * short * long and long < longest * short)


def between(mask: Mask) -> Mask:
    """Mends ink that hangs together with what is around its page: gives all that has page on its left and right."""
    ahead, behind = np.logical_or.accumulate(mask, 1), np.logical_or.accumulate(mask[:, ::-1], 1)[:, ::-1]
    return ahead & behind


def grown(mask: Mask, reach: int) -> Mask:
    """Give a mask with all that is at most `reach` rows and columns away."""
    return lightest(np.pad(mask, reach).astype(np.uint8), reach) > 0
