"""The paper under the ink: whether it is the light or the dark of a picture, and how much light falls on it where.

Each function mends one way in which light falls on paper. Shade may be darker than pale ink is.
"""

from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from client.errors import NoDigit
from client.grey import Grey
from client.image import resize

Bytes: TypeAlias = NDArray[np.uint8]
Plane = TypeVar("Plane", Bytes, Grey, NDArray[np.bool_])

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
TIP = 0.02
"""Per cent of a picture's pixels; a digit of a twentieth of its side has a tenth of a per cent in all."""
COARSE = 16
"""Pixels of a picture's longer side at which the median of 9×9 shows its light alone, and of most digits nothing."""
SAME, PLAIN = 0.015, 0.15
"""Paper of one tone differs by no more, and is so much of a picture of a digit that fills it, ..."""
PALE, NEAR, SHADE = 0.06, 0.13, 0.003
"""... on which ink darker than PALE is so near to dark ink, of the side, as soft edges are; what is not is shade."""
TILE = 8
"""Pixels of the side of the tiles in which grain is measured: of 5×5 a quarter have no ink."""


def even_out(grey: Grey, breadth: float | None = None) -> Grey:
    """Mends shadows, grey paper and boards: gives the ink without the light, 0 = paper, 1 = the clearest.

    What is broader than `breadth` pixels is light; without it BROADEST holds. Then it raises NoDigit when there is no
    more than noise and shadow.
    """
    reach = breadth or BROADEST * max(grey.shape)
    if is_dark(grey):
        ink: Grey = 1 - grey / paper_level(grey, reach).clip(0.05)  # ink leaves a part of the light that falls on it
    else:
        ink = paper_level(1 - grey, reach) - (1 - grey)
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
        coarse = resize(_as_image(grey), COARSE / max(grey.shape), Image.Resampling.BOX)
        lit = coarse.filter(ImageFilter.MedianFilter(9)).resize(grey.shape[::-1], Image.Resampling.BICUBIC)
        dark, light, _ = _contrasts(grey - _as_grey(lit))
    if max(dark, light) < FAINTEST:
        raise NoDigit(BLANK)
    return dark >= light


def _is_soft(grey: Grey, contrast: float) -> bool:
    """Mends the spot of a lamp: tells whether what differs so much from the border has soft edges, which no ink has."""
    level = float(np.median(border(grey))) + contrast / 2
    small = np.asarray(resize(Image.fromarray(grey), SMALL / max(grey.shape), Image.Resampling.BOX))
    mask = small > level
    steps = np.concatenate([abs(np.diff(small, axis=axis))[np.diff(mask, axis=axis)] for axis in (0, 1)])
    return bool(steps.size) and float(np.median(steps)) < SOFT * abs(contrast)


def otsu(ink: Grey) -> float:
    """Give the threshold that best separates ink from paper (Otsu 1979)."""
    counts = np.bincount((255 * ink).astype(np.uint8).ravel(), minlength=256)
    middles = (np.arange(256) + 0.5) / 256
    weight, moment = counts.cumsum(), (counts * middles).cumsum()
    rest = weight[-1] - weight
    with np.errstate(divide="ignore", invalid="ignore"):
        between = weight * rest * (moment / weight - (moment[-1] - moment) / rest) ** 2
    return float(middles[np.nanargmax(between)])


def border(plane: Plane) -> Plane:
    """Give the pixels along the four edges, in a line; those of the corners twice."""
    return np.concatenate([plane[0], plane[-1], plane[:, 0], plane[:, -1]])


def _contrasts(grey: Grey) -> tuple[float, float, float]:
    """Give how much darker the darkest is than the border, how much lighter the lightest, and how the border varies."""
    low, middle, high = map(float, np.percentile(border(grey), (10, 50, 90)))
    lowest, low_usual, high_usual, highest = map(float, np.percentile(grey, (TIP, 0.1, 99.9, 100 - TIP)))
    return _further(middle - low_usual, middle - lowest), _further(high_usual - middle, highest - middle), high - low


def paper_level(grey: Grey, breadth: float) -> Grey:
    """Give how light the paper is at each pixel, under ink of a breadth that is darker, too: a morphological closing.

    The lightest nearby alone would make paper at the edge of a shadow as light as what is beyond it; the darkest of the
    lightest leaves the edge in its place.
    """
    small = np.asarray(resize(_as_image(grey), 1 / 2, Image.Resampling.BOX))
    reach = round(breadth / 4)
    around = np.pad(small, 2 * reach, "edge")
    level = ~lightest(~lightest(around, reach), reach)
    smooth = Image.fromarray(level).filter(ImageFilter.GaussianBlur(1))
    return _as_grey(smooth.resize(grey.shape[::-1], Image.Resampling.BICUBIC))


def clearness(ink: Grey) -> float:
    """Give how many times the grain of the paper around it, of at least 0.002, the clearest stands out."""
    tiles = _tiles(ink)
    paper, spread = (_calmest(values, ink.shape) for values in (tiles.mean((1, 3)), tiles.std((1, 3))))
    return summit((ink - paper) / spread.clip(0.002))


def grain(ink: Grey) -> float:
    """Give how much the ink varies within tiles, of which three quarters vary more."""
    return float(np.percentile(_tiles(ink).std((1, 3)), 25))


def _tiles(ink: Grey) -> Grey:
    """Give the picture as [rows of tiles, TILE, columns of tiles, TILE]."""
    height, width = (-(-side // TILE) * TILE for side in ink.shape)
    whole = np.pad(ink, ((0, height - ink.shape[0]), (0, width - ink.shape[1])), "edge")
    return whole.reshape(height // TILE, TILE, width // TILE, TILE)


def smoothed(grey: Grey) -> Grey:
    """Mends noise, dots of print and squares that are as dark as ink: of a pixel's grain a quarter is left."""
    return _as_grey(_as_image(grey).filter(ImageFilter.GaussianBlur(1)))


def summit(values: Grey) -> float:
    """Give the highest but for 0.1 %, which may be dust; but for TIP where that is far higher: of a tiny digit."""
    return _further(*map(float, np.percentile(values, (99.9, 100 - TIP))))


def _further(usual: float, tip: float) -> float:
    return tip if tip > 2 * usual else usual


def _calmest(tiles: Grey, shape: tuple[int, ...]) -> Grey:
    """Give at each pixel the lower quartile of the 5×5 tiles around."""
    calm = Image.fromarray(tiles).filter(ImageFilter.RankFilter(5, 6))
    height, width = shape
    return np.asarray(calm.resize((width, height), Image.Resampling.BILINEAR))


def lightest(pixels: Plane, reach: int) -> Plane:
    """Give the largest value at most `reach` rows and columns away, but for so many rows and columns at the border."""
    size = 2 * reach + 1
    for _ in range(2):
        covered = 1
        while covered < size:
            step = min(covered, size - covered)
            pixels, covered = np.maximum(pixels[:-step], pixels[step:]), covered + step
        pixels = pixels.T
    return pixels


def _as_image(grey: Grey) -> Image.Image:
    return Image.fromarray(np.round(255 * grey).astype(np.uint8))


def _as_grey(image: Image.Image) -> Grey:
    return np.asarray(image, np.float32) / np.float32(255)
