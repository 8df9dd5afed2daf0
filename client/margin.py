"""Paper around a digit, or a number, that fills its picture: cut out by a program, or of 8×8 pixels as UCI's digits.

Ink at the border would pass for paper, for a strip of the desk, or for a neighbour that the edge cuts.
"""

import numpy as np
from PIL import Image

from client.grey import Grey
from client.image import resize
from client.page import Page
from client.paper import border, otsu
from client.regions import Mask, Region, box_of, find_regions, paint
from client.shapes import filled, is_rectangle
from client.strokes import stroke_width

MARGIN = 0.15
"""Paper to add on each side. Lengths are parts of a picture's longer side, of a number's of its height."""
HIGH = 0.5
"""Height of a digit in a number that fills its picture."""
TINY = 10
"""Pixels of that side of a picture in which a pixel may be the soft edge of a stroke."""
COARSE = 96
"""Pixels of that side that are looked at, at most."""
CONTRAST = 0.2
"""Least range of brightness, and of the border's as a part of it."""
INKED = 0.4
"""Darkness of ink; of 8×8 pixels the lowest row of a digit may have no darker."""
NEAR = 0.03
"""The digit ends so near to two opposite edges, ..."""
CENTRED = 0.19
"""... or else stands in the middle between the other two, as near as this or two pixels; UCI's are 0.125 off, ..."""
ALONE = 0.6
"""... has so much of all ink, ..."""
THINNEST, THICKEST = 0.07, 0.45
"""... has strokes of such a width, where rules are thinner, and the boldest of UCI's 1s have 0.4, ..."""
TOUCHING, TOUCHING_IN_A_ROW, SOFT = 0.3, 0.15, 1.6
"""... and takes so much of the border, alone or in a row, and so many pixels of it for its soft edges; a shadow takes a
third or half."""

SHORTER = 0.8
"""Length of a digit, of the bar of shadow that it is in."""


def with_margin(grey: Grey, *, is_number: bool = False) -> Page:
    """Mends a digit, or a row of them, without paper around: gives it a margin, and leaves any other picture alone."""
    side = len(grey) if is_number else max(grey.shape)
    paper = _paper(_coarse(grey, side), is_number)
    if paper is None:
        return Page(grey)
    margin = max(1, round(MARGIN * side))
    return Page(np.pad(grey, margin, constant_values=np.float32(paper)), -margin, -margin)


def _coarse(grey: Grey, side: int) -> Grey:
    scale = COARSE / side
    return np.asarray(resize(Image.fromarray(grey), scale, Image.Resampling.BOX)) if scale < 1 else grey


def _paper(grey: Grey, is_number: bool) -> float | None:
    """Give how bright the paper is around what fills the picture; None where nothing does."""
    low, high = map(float, np.percentile(grey, (1, 99)))
    if high - low < CONTRAST or np.ptp(border(grey)) < CONTRAST * (high - low):
        return None
    ink = ((grey - low) / (high - low)).clip(0, 1)
    if _is_light_paper(ink):
        ink = 1 - ink
    mask = ink > INKED
    return float(np.median(grey[~mask])) if _is_filled(ink, mask, is_number) else None


def _row(mask: Mask) -> list[Region]:
    return [region for region in find_regions(mask, 64) if region.height > HIGH * len(mask)]


def _is_light_paper(grey: Grey) -> bool:
    """Tell whether the border, the corners and the whole are rather light, each of which may be ink by itself."""
    corners = grey[:: len(grey) - 1 or 1, :: grey.shape[1] - 1 or 1]
    return float(border(grey).mean() + corners.mean() + grey.mean()) > 1.5


def _is_filled(ink: Grey, mask: Mask, is_number: bool) -> bool:
    """Tell whether a digit takes the whole height or width of the picture, or the digits of a number its height."""
    side, digits = (len(mask), _row(mask)) if is_number else (max(mask.shape), find_regions(mask, 1))
    drawn = paint(digits, mask.shape)
    if not digits or np.count_nonzero(drawn) < ALONE * np.count_nonzero(mask):
        return False
    width = stroke_width(drawn) / side
    touching = (TOUCHING_IN_A_ROW if is_number else TOUCHING) + SOFT / side
    is_drawn = bool(THINNEST < width < THICKEST and border(mask).mean() < touching)
    if not is_drawn or not _is_from_edge_to_edge(drawn, side, is_number):
        return False
    return side <= TINY or not (_is_shade(ink, drawn) or any(_is_sheet(paint([one], mask.shape)) for one in digits))


def _is_sheet(region: Mask) -> bool:
    """Tell whether a region is a strip of paper from edge to edge, a receipt on a desk, with something on it."""
    whole = filled(region)
    return bool(np.count_nonzero(whole) > np.count_nonzero(region)) and is_rectangle(whole)


def _is_shade(ink: Grey, drawn: Mask) -> bool:
    """Tell whether the darkest of a region is far shorter, as a digit in a bar of shadow is; of a digit it is not."""
    dark = ink[drawn]
    if np.ptp(dark) < CONTRAST:  # of one bit
        return False
    height, width = _size(drawn)
    inner_height, inner_width = _size(drawn & (ink > otsu(dark)))
    return inner_height < SHORTER * height if height > width else inner_width < SHORTER * width


def _size(mask: Mask) -> tuple[int, int]:
    down, across = box_of(mask)
    return down.stop - down.start, across.stop - across.start


def _is_from_edge_to_edge(drawn: Mask, side: int, is_number: bool) -> bool:
    down, across = box_of(drawn)
    above, left, below, right = down.start, across.start, drawn.shape[0] - down.stop, drawn.shape[1] - across.stop
    near = NEAR * side if side > TINY else 1
    is_high, is_wide = bool(max(above, below) <= near), bool(max(left, right) <= near)
    if is_number or is_high == is_wide:
        return is_high
    off = abs(left - right) if is_high else abs(above - below)
    return bool(off <= max(2, CENTRED * side))
