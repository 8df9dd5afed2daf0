"""Paper around a digit that fills its picture: cut out by a program, or one of the 8×8 pixels of UCI's digits.

Ink at the border would pass for paper, for a strip of the desk, or for a neighbour that the edge cuts.
"""

import numpy as np
from PIL import Image

from client.grey import Grey
from client.image import resize
from client.page import Page
from client.paper import border
from client.regions import Mask, Region, find_regions, paint
from client.strokes import stroke_width

MARGIN = 0.15
"""Paper to add on each side, of the longer side; MNIST's digits have a fifth of theirs."""
TINY = 10
"""Pixels of the longer side of a picture in which a pixel may be the soft edge of a stroke."""
COARSE = 96
"""Pixels of the longer side that are looked at, at most."""
CONTRAST = 0.2
"""Least range of brightness, and of the border's as a part of it."""
INKED = 0.5
"""Darkness of ink."""
NEAR = 0.03
"""The digit ends so near to two opposite edges, of the longer side, ..."""
CENTRED = 0.12
"""... or else stands in the middle between the other two, as near as this or two pixels, ..."""
ALONE = 0.6
"""... has so much of all ink, ..."""
THINNEST, THICKEST = 0.07, 0.35
"""... has strokes of such a width, where rules are thinner and shadows broader, ..."""
TOUCHING, SOFT = 0.3, 1.6
"""... and takes so much of the border, and so many pixels of it for its soft edges; a shadow takes half."""


def with_margin(grey: Grey) -> Page:
    """Mends a digit without paper around it: gives it with a margin, and any other picture as it is."""
    paper = _paper(_coarse(grey))
    if paper is None:
        return Page(grey)
    margin = max(1, round(MARGIN * max(grey.shape)))
    return Page(np.pad(grey, margin, constant_values=np.float32(paper)), -margin, -margin)


def _coarse(grey: Grey) -> Grey:
    scale = COARSE / max(grey.shape)
    return np.asarray(resize(Image.fromarray(grey), scale, Image.Resampling.BOX)) if scale < 1 else grey


def _paper(grey: Grey) -> float | None:
    """Give how bright the paper is around a digit that fills the picture; None where none does."""
    low, high = map(float, np.percentile(grey, (1, 99)))
    if high - low < CONTRAST or np.ptp(border(grey)) < CONTRAST * (high - low):
        return None
    ink = ((grey - low) / (high - low)).clip(0, 1)
    if _is_light_paper(ink):
        ink = 1 - ink
    mask = ink > INKED
    return float(np.median(grey[~mask])) if _is_filled(mask) else None


def _is_light_paper(grey: Grey) -> bool:
    """Tell whether the border, the corners and the whole are rather light, each of which may be ink by itself."""
    corners = grey[:: len(grey) - 1 or 1, :: grey.shape[1] - 1 or 1]
    return float(border(grey).mean() + corners.mean() + grey.mean()) > 1.5


def _is_filled(mask: Mask) -> bool:
    """Tell whether one digit takes the whole height or width of the picture."""
    side, digit = max(mask.shape), next(iter(find_regions(mask, 1)), None)
    if digit is None or digit.area < ALONE * np.count_nonzero(mask) or not _is_from_edge_to_edge(digit, mask.shape):
        return False
    width = stroke_width(paint([digit], mask.shape)) / side
    return bool(THINNEST < width < THICKEST and border(mask).mean() < TOUCHING + SOFT / side)


def _is_from_edge_to_edge(digit: Region, shape: tuple[int, ...]) -> bool:
    (height, width), side = shape, max(shape)
    above, left, below, right = digit.top, digit.left, height - digit.bottom, width - digit.right
    near = NEAR * side if side > TINY else 1
    is_high, is_wide = max(above, below) <= near, max(left, right) <= near
    off = abs(left - right) if is_high else abs(above - below)
    return is_high and is_wide or (is_high or is_wide) and off <= max(2, CENTRED * side)
