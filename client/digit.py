"""From a grey picture to the digit in it: cleaned, found, and brought into MNIST's form.

Each function mends one way in which a person's file differs from MNIST.
"""

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from client.bars import without_bars
from client.errors import NoDigit
from client.frame import inside, inside_broken
from client.grey import Grey
from client.image import resize
from client.ink import even_out, on_plain_paper
from client.margin import with_margin
from client.mnist import Pixels, normal
from client.page import Box, Page, cut_out, without_note
from client.pale import darken, palest_stroke, with_hairlines, with_pale_ink
from client.paper import grain, lightest, otsu, smoothed, summit
from client.regions import Mask, Region, Window, box_of, find_regions, paint
from client.rules import erase_rules
from client.shade import breadth_on_shade
from client.strokes import digit_mask, strokes

SMALLEST_WORKING_SIZE = 112
TINY = 16
"""Pixels of the longer side of a picture in which there is no room for more than a digit."""
SEVERAL = "several digits?"
"""The note of a picture that may show more than one."""
SOLID = 0.02
"""Part of a picture's ink with ink all around, where all lines are thin: what they cross at has some."""
PALEST = 0.3
"""Ink paler than this part of the darkest is noise, a shadow or a rule, even where Otsu's threshold goes lower."""
GRAINY = 0.055
"""Grain of the paper, of the clearest ink, from which it joins the strokes; photos by day have 0.016 at most."""
MOST_SMOOTHED = 3
"""Of noise from pixel to pixel a quarter is left, then a fifth."""
SMALLEST_INSIDE = 12
"""Pixels of the shorter side of a box's inside."""
SHORTEST = 0.2
"""Length of a digit in a box, of the shorter side of that; what is shorter may be dirt in a square 0."""
MOST_FRAMES = 2
"""Each costs as much as the picture."""


@dataclass(frozen=True)
class Prepared:
    """What the network is given for a picture, and what a person should know about it.

    `box` is where the digit is in the picture that was looked at; None for what came in MNIST's form. `around` is the
    inside of a frame that is drawn around it.
    """

    pixels: Pixels
    notes: tuple[str, ...] = ()
    box: Box | None = None
    around: Box | None = None


def find_digit(grey: Grey, frames: int = MOST_FRAMES) -> Prepared:
    """Cut out the digit, also of so many frames around it, and bring it into MNIST's form.

    Raises NoDigit when there is no ink.
    """
    bare = without_bars(grey)
    wide = with_margin(bare.grey)
    is_alone = wide.top < 0 or max(grey.shape) <= TINY
    wide = wide.within(bare)
    if is_alone and (alone := _alone(wide)):
        return alone
    page, ink = clear_page(wide)
    level = threshold(ink)
    regions = find_regions(ink > level, 64)
    window = inside(regions, ink.shape) or inside_broken(ink, level) if frames else None
    framed = _in_frame(page, window, ink.shape, frames - 1) if window else None
    return framed or _find(page, ink, level, strokes(regions, ink.shape))


def clear_page(wide: Page) -> tuple[Page, Grey]:
    """Mends a blank note that is cut out as the page: gives the page and its ink. Raises NoDigit when there is none."""
    page = cut_out(wide.grey).within(wide)
    try:
        return page, to_ink(page.grey)
    except NoDigit:
        rest = without_note(wide.grey)
        if rest is None:
            raise
        return rest.within(wide), to_ink(rest.grey)


def _alone(page: Page) -> Prepared | None:
    """Give the digit of a picture without rules, frames and light, as it is; None on uneven paper."""
    ink = on_plain_paper(enlarge(page.grey))
    return _prepared(page, ink, *digit_mask(find_regions(ink > PALEST, 64), ink)) if ink is not None else None


def _in_frame(page: Page, window: Window, shape: tuple[int, ...], frames: int) -> Prepared | None:
    """Mends a box around the digit, which may be darker: looks inside, and gives None where no digit stands free."""
    scale = max(page.grey.shape) / max(shape)
    rows, columns = (slice(round(side.start * scale), round(side.stop * scale)) for side in window)
    grey = page.grey[rows, columns]
    if min(grey.shape) < SMALLEST_INSIDE:
        return None
    try:
        found = find_digit(grey, frames)
    except NoDigit:
        return None
    height, width = grey.shape
    left, top, right, bottom = box = found.box or (0, 0, 0, 0)
    is_free = left > 0 and top > 0 and right < width and bottom < height
    if not is_free or max(right - left, bottom - top) < SHORTEST * min(height, width):
        return None
    inner = Page(grey, rows.start, columns.start).within(page)
    around = found.around or (0, 0, width, height)
    return replace(found, box=inner.back(box, grey.shape), around=inner.back(around, grey.shape))


def _find(page: Page, ink: Grey, level: float, pieces: list[Region]) -> Prepared:
    inked = paint(pieces, ink.shape)
    cleared = erase_rules(ink, level, inked)
    if cleared is not None:
        ink = cleared
        pieces = strokes(find_regions(ink > level, 64), ink.shape)
    mask, several = digit_mask(pieces, ink)
    whole = with_pale_ink(ink, mask, inked, level) if cleared is None else None
    if whole is None:
        mask = with_hairlines(ink, mask, palest_stroke(ink, mask, level), level)
    else:
        mask, ink = whole, darken(ink, whole)
    return _prepared(page, ink, mask, several)


def _prepared(page: Page, ink: Grey, mask: Mask, several: bool) -> Prepared:
    down, across = box_of(mask)
    box = page.back((across.start, down.start, across.stop, down.stop), ink.shape)
    return Prepared(normal(ink, mask), (SEVERAL,) if several else (), box)


def to_ink(grey: Grey) -> Grey:
    """Give how clear the ink is, 0 = paper, 1 = the clearest. Raises NoDigit when there is none."""
    grey = enlarge(grey)
    ink = even_out(grey)
    for _ in range(MOST_SMOOTHED):
        if grain(ink) <= GRAINY:
            break
        grey = smoothed(grey)
        ink = even_out(grey)
    breadth = breadth_on_shade(ink, threshold(ink))
    return even_lines(ink if breadth is None else even_out(grey, breadth))


def enlarge(grey: Grey) -> Grey:
    """Mends tiny images: cleaning needs strokes of a few pixels."""
    scale = SMALLEST_WORKING_SIZE / max(grey.shape)
    if scale <= 1:
        return grey
    return np.asarray(resize(Image.fromarray(grey), scale, Image.Resampling.BICUBIC)).clip(0, 1)


def even_lines(ink: Grey) -> Grey:
    """Mends lines of one pixel: made smaller they lie on one pixel or, half as dark, on two, and fall to pieces.

    The sum across such a line is the same everywhere. Ink of which some, more than SOLID, has ink all around stays.
    """
    mask = ink > threshold(ink)
    solid = ~lightest(~mask, 1)
    if np.count_nonzero(solid) > SOLID * np.count_nonzero(mask):
        return ink
    around = np.pad(ink, 1)
    down = around[:-2] + around[1:-1] + around[2:]
    even: Grey = down[:, :-2] + down[:, 1:-1] + down[:, 2:]
    return (even / np.float32(summit(even))).clip(0, 1)


def threshold(ink: Grey) -> float:
    """Give the darkness from which a pixel is ink."""
    return max(PALEST, 0.8 * otsu(ink))
