"""The crisp shadow of a hand, a phone or a blind, which joins the strokes, or hides them: found by its two tones."""

import numpy as np
from PIL import Image, ImageFilter

from client.grey import Grey
from client.paper import otsu
from client.regions import Mask, Region, find_regions, paint
from client.strokes import SMALLEST, stroke_width, without_buttons

TWO_TONES = 0.2
"""Least range of the darkness of ink in which some may be shade."""
BROAD, SOLID = 5.0, 0.8
"""Shade fills so much of a square of so many times the breadth of the strokes; of the strokes' own pale part, at most
0.7 in real pictures."""
STROKE = 2.5
"""What is broader than so many strokes is light: 3 takes in narrow fingers, and the crossing of two strokes is 1.4."""
NARROWER, ONE = 0.5, 0.7
"""How narrow the darker of what is dark is, where the rest is shade, and how much of that hangs together: of the dark
parts of a felt pen's or a brush's stroke, which are as narrow, 0.6 at most and seldom 0.9."""
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
    strokes = _strokes(ink, mask)
    largest = find_regions(strokes, 1)[0]  # all of them would tell how broad the specks at the edge of the shade are
    width = float(stroke_width(paint([largest], ink.shape)))
    regions = without_buttons(find_regions(mask, 16), ink.shape)
    broad = _filled(paint(regions, ink.shape) & ~strokes, BROAD * width)
    if not broad.any() or _is_long(largest, ink.shape):
        return None
    is_shade = _is_digit(strokes) or any(_is_shade(one, strokes, broad) for one in regions)
    return STROKE * width if is_shade else None


def _strokes(ink: Grey, mask: Mask) -> Mask:
    """Give the dark of what is ink or shade.

    Mends a deep shade, which is darker than its own soft edge: of what is dark, the darker that is one digit.
    """
    dark = mask & (ink > otsu(ink[mask]))
    if np.ptp(ink[dark]) < TWO_TONES:
        return dark
    darker = dark & (ink > otsu(ink[dark]))
    if stroke_width(darker) > NARROWER * stroke_width(dark) or not _is_digit(darker):
        return dark
    return darker if np.median(ink[darker]) - np.median(ink[dark & ~darker]) > TWO_TONES else dark


def _is_digit(strokes: Mask) -> bool:
    """Tell whether nearly all of some strokes is one, as long as a digit: print and a pen's own dark parts are not."""
    main = find_regions(strokes, 1)[0]
    return bool(main.area > ONE * np.count_nonzero(strokes) and main.length > SMALLEST * max(strokes.shape))


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
