"""The paper under the ink: how light it is where, how rough, and what stands out from it."""

from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from client.grey import Grey
from client.image import resize

Bytes: TypeAlias = NDArray[np.uint8]
Plane = TypeVar("Plane", Bytes, Grey, NDArray[np.bool_])

TIP = 0.02
"""Per cent of a picture's pixels; a digit of a twentieth of its side has a tenth of a per cent in all."""
TILE = 8
"""Pixels of the side of the tiles in which grain is measured: of 5×5 a quarter have no ink."""


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


def paper_level(grey: Grey, breadth: float) -> Grey:
    """Give how light the paper is at each pixel, under ink of a breadth that is darker, too: a morphological closing.

    The lightest nearby alone would make paper at the edge of a shadow as light as what is beyond it; the darkest of the
    lightest leaves the edge in its place.
    """
    small = np.asarray(resize(as_image(grey), 1 / 2, Image.Resampling.BOX))
    reach = round(breadth / 4)
    around = np.pad(small, 2 * reach, "edge")
    level = ~lightest(~lightest(around, reach), reach)
    smooth = Image.fromarray(level).filter(ImageFilter.GaussianBlur(1))
    return as_grey(smooth.resize(grey.shape[::-1], Image.Resampling.BICUBIC))


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
    return as_grey(as_image(grey).filter(ImageFilter.GaussianBlur(1)))


def summit(values: Grey) -> float:
    """Give the highest but for 0.1 %, which may be dust; but for TIP where that is far higher: of a tiny digit."""
    return further(*map(float, np.percentile(values, (99.9, 100 - TIP))))


def further(usual: float, tip: float) -> float:
    """Give the tip of a summit where it is far higher than what is usual there."""
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


def as_image(grey: Grey) -> Image.Image:
    """Give 256 levels of brightness, with which Pillow is fast."""
    return Image.fromarray(np.round(255 * grey).astype(np.uint8))


def as_grey(image: Image.Image) -> Grey:
    """Give the brightness of an image of 256 levels."""
    return np.asarray(image, np.float32) / np.float32(255)
