"""The crisp shadow of a hand, a phone or a blind, which joins the strokes, or hides them: found by its two tones."""

import numpy as np
from PIL import Image, ImageFilter

from client.grey import Grey
from client.paper import otsu
from client.regions import Mask, Region, find_regions, paint
from client.strokes import stroke_width

TWO_TONES = 0.2
"""Least range of the darkness of ink in which some may be shade."""
BROAD, SOLID = 5.0, 0.8
"""Shade fills so much of a square of so many times the breadth of the strokes; of the strokes' own pale part, at most
0.7 in real pictures."""
STROKE = 3.0
"""What is broader than so many strokes is light: 2 to 4 give the same, as the crossing of two strokes is 1.4."""
LONGEST = 0.7
"""Length of a digit on shade, of the picture's side."""
DARKEST = 0.01
"""How much of a shade is strokes, when it does not come in from beyond the picture."""


def breadth_on_shade(ink: Grey, level: float) -> float | None:
    """Mends shade that is narrower than the broadest stroke might be: gives how broad the strokes are at most.

    Gives None where no dark strokes are on, or beside, something broad and pale. Print beside a pale bold digit is not
    on it, and a rule or a frame that is on it is longer than strokes are.
    """
    mask = ink > level
    if not mask.any() or np.ptp(ink[mask]) < TWO_TONES:
        return None
    strokes = mask & (ink > otsu(ink[mask]))
    largest = find_regions(strokes, 1)[0]  # all of them would tell how broad the specks at the edge of the shade are
    width = float(stroke_width(paint([largest], ink.shape)))
    broad = _filled(mask & ~strokes, BROAD * width)
    if not broad.any() or _is_long(largest, ink.shape):
        return None
    is_shade = any(_is_shade(one, strokes, broad) for one in find_regions(mask, 16))
    return STROKE * width if is_shade else None


def _filled(pale: Mask, side: float) -> Mask:
    """Mark the middles of squares that are mostly pale: noise and rules make holes in shade."""
    share = Image.fromarray(pale).convert("L").filter(ImageFilter.BoxBlur(side / 2))
    return np.asarray(share) > 255 * SOLID


def _is_shade(region: Region, strokes: Mask, broad: Mask) -> bool:
    drawn = paint([region], strokes.shape)
    is_dark = np.count_nonzero(drawn & strokes) > DARKEST * region.area
    return bool((is_dark or region.is_cut(strokes.shape)) and (drawn & broad).any())


def _is_long(region: Region, shape: tuple[int, ...]) -> bool:
    return max(region.height / shape[0], region.width / shape[1]) > LONGEST
