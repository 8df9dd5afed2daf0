"""The ink of a picture without the light: whether it is the dark or the light of it, and how clear it is where.

Each function mends one way in which light falls on paper. Shade may be darker than pale ink is.
"""

import numpy as np
from PIL import Image, ImageFilter

from client.errors import NoDigit
from client.grey import Grey
from client.image import resize
from client.paper import TIP, as_grey, as_image, border, clearness, further, lightest, paper_level, summit
from client.regions import Mask, find_regions, paint
from client.shapes import filled, grown, is_rectangle

FAINTEST = 0.03
"""Contrast under which an image is blank, of 1."""
PLAINEST = 0.5
"""Ink of this darkness is no grain, however rough the paper."""
CLEAREST = 7.5
"""Paler ink stands out this much from the grain around it: on blank paper 4 to 7 times, a pale pencil from 8."""
BLANK = "blank, there is no ink on the paper"
BROADEST = 0.25
"""Breadth of a stroke, of the picture's longer side: dark that is broader is a shadow."""
PLAINER = 2.0
"""Ink that differs from the border so many times as much as the border differs itself is told by that."""
SMALL, SOFT = 32, 0.12
"""Of a picture so many pixels long the edges of ink rise by more of its contrast from one to the next: of a blurred
digit by 0.16 at least, of a lamp's narrow spot by 0.07 to 0.11."""
COARSE = 16
"""Pixels of a picture's longer side at which the median of 9×9 shows its light alone, and of most digits nothing."""
LIT, DEEP, DARKER = 64, 0.2, 0.25
"""Of a picture so many pixels long what is light is lit paper if a square of this part of its length fits in, as into
bold digits, too, and if ink is darker than the border by that part of what light is lighter, as around those none is.
"""
SPECK = 0.2
"""Length of such ink, of the light's: beside a light digit what is shorter is dirt."""
HUGGED, FAR, BEYOND, PANE = 0.4, 4, 0.1, 0.7
"""Part of the light's rim beside dark: of a digit with its own shadow half; of a patch of sun as much where a stroke
goes along or across it. That goes on beyond so many pixels, with more than this part of it, or makes up with the light
so much of a rectangle.
"""
SAME, PLAIN = 0.015, 0.15
"""Paper of one tone differs by no more, and is so much of a picture of a digit that fills it, ..."""
PALE, NEAR, SHADE = 0.06, 0.13, 0.003
"""... on which ink darker than PALE is so near to dark ink, of the side, as soft edges are; what is not is shade."""


def even_out(grey: Grey, breadth: float | None = None) -> Grey:
    """Mends shadows, grey paper and boards: gives the ink without the light, 0 = paper, 1 = the clearest.

    What is broader than `breadth` pixels is light; without it BROADEST holds. Then it raises NoDigit when there is no
    more than noise and shadow.
    """
    reach = breadth or BROADEST * max(grey.shape)
    if is_dark(grey):
        ink: Grey = 1 - grey / paper_level(grey, reach).clip(0.05)  # ink leaves a part of the light that falls on it
    else:
        lit = np.maximum(grey, border(grey).min())  # what is darker than all paper is the shadow of ink
        ink = paper_level(1 - lit, reach) - (1 - lit)
    clearest = summit(ink)
    if breadth is None and clearest < PLAINEST and clearness(ink) < CLEAREST:
        raise NoDigit(BLANK)
    return (ink / clearest).clip(0, 1)


def on_plain_paper(grey: Grey) -> Grey | None:
    """Mends bold strokes, which pass for light: gives the ink where there is none to even out, as programs cut it out.

    Gives None where the paper is not of one tone. Raises NoDigit when the picture is blank.
    """
    darkness = 1 - grey if is_dark(grey) else grey
    ink = (darkness - np.float32(np.percentile(darkness, 5))).clip(0, 1)
    clearest = summit(ink)
    if np.mean(ink < SAME) < PLAIN or clearest < SAME:
        return None
    ink = (ink / np.float32(clearest)).clip(0, 1)
    reach = round(NEAR * max(ink.shape))
    near = lightest(np.pad(ink > 0.5, reach), reach)
    return ink if np.mean((ink > PALE) & ~near) < SHADE else None


def is_dark(grey: Grey) -> bool:
    """Mends polarity: what differs most from the border is ink. Tells whether it is dark; refuses blank images.

    Where the border itself differs nearly as much, or the edges are those of light, only what is left without the light
    is compared, or the lit half of a page would pass for ink on the other half. A bold digit that fills the picture
    would pass for the light.
    """
    dark, light, uneven = _contrasts(grey)
    if max(dark, light) < PLAINER * uneven or _is_soft(grey, light if light > dark else -dark):
        coarse = resize(as_image(grey), COARSE / max(grey.shape), Image.Resampling.BOX)
        lit = coarse.filter(ImageFilter.MedianFilter(9)).resize(grey.shape[::-1], Image.Resampling.BICUBIC)
        dark, light, _ = _contrasts(grey - as_grey(lit))
    if max(dark, light) < FAINTEST:
        raise NoDigit(BLANK)
    return dark >= light or _is_lit(grey)


def _is_soft(grey: Grey, contrast: float) -> bool:
    """Mends the spot of a lamp: tells whether what differs so much from the border has soft edges, which no ink has."""
    level = float(np.median(border(grey))) + contrast / 2
    small = np.asarray(resize(Image.fromarray(grey), SMALL / max(grey.shape), Image.Resampling.BOX))
    mask = small > level
    steps = np.concatenate([abs(np.diff(small, axis=axis))[np.diff(mask, axis=axis)] for axis in (0, 1)])
    return bool(steps.size) and float(np.median(steps)) < SOFT * abs(contrast)


def _is_lit(grey: Grey) -> bool:
    """Mends a patch of sun, and the lit part of a page: tells whether the light is broad and there is dark ink, too."""
    _, light, _ = _contrasts(grey)
    usual = np.median(border(grey))
    small = np.asarray(resize(Image.fromarray(grey), LIT / max(grey.shape), Image.Resampling.BOX))
    regions = find_regions(small > usual + light / 2, 1)
    if not regions or not _is_deep(paint(regions, small.shape), DEEP * regions[0].length):
        return False
    dark = np.minimum(grey, usual)  # the hole of a light 8 is no darker than what is around it
    darker = paper_level(dark, BROADEST * max(grey.shape)) - dark
    if summit(darker) <= DARKER * light:
        return False
    longest = find_regions(darker > DARKER / 2 * light, 1)[0].length  # its paler parts, too
    is_speck = longest <= SPECK * regions[0].length * max(grey.shape) / LIT
    return not is_speck and not _is_hugged(paint(regions, small.shape), small < usual - DARKER / 2 * light)


def _is_hugged(light: Mask, dark: Mask) -> bool:
    """Mends light digits with a rim or a shadow of their own: tells whether the dark lies around the light."""
    inner = filled(light)
    outer = dark & ~inner
    rim = inner & lightest(np.pad(~inner, 1, constant_values=True), 1)
    is_hugged = np.mean(lightest(np.pad(outer, 2), 2)[rim]) > HUGGED
    goes_on = np.count_nonzero(outer & ~grown(inner, FAR)) > BEYOND * np.count_nonzero(outer)
    return bool(is_hugged and not goes_on and not is_rectangle(light | dark, fullest=PANE))


def _is_deep(mask: Mask, side: float) -> bool:
    reach = round((side - 1) / 2)
    return not lightest(np.pad(~mask, reach, constant_values=True), reach).all()


def _contrasts(grey: Grey) -> tuple[float, float, float]:
    """Give how much darker the darkest is than the border, how much lighter the lightest, and how the border varies."""
    low, middle, high = map(float, np.percentile(border(grey), (10, 50, 90)))
    lowest, low_usual, high_usual, highest = map(float, np.percentile(grey, (TIP, 0.1, 99.9, 100 - TIP)))
    return further(middle - low_usual, middle - lowest), further(high_usual - middle, highest - middle), high - low
