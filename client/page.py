"""A page, a note or a board that does not fill the picture: cut out, before what lies around it passes for ink."""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from client.grey import Grey
from client.image import resize
from client.regions import Mask, box_of
from client.sheet import find_page

COARSE = 96
"""Pixels of the longer side at which a page is looked for; ..."""
FINEST = 2.5
"""... no picture is made larger than so many times for that: of 28 pixels a digit takes most."""
MARGIN = 5
"""Pixels of MinFilter, at COARSE, by which a page is made smaller, as its edge is blurred and has a shadow."""
FAR = 0.03
"""Part of the page nearby, of 256 levels, under which the page as a whole tells more of how bright it is there."""
LARGEST_NOTE = 0.35
"""Area of a note, of the picture's; a sheet whose picture is taken for its own sake is larger."""
THICKEST = 0.06
"""Thickness of a strip along an edge, of the picture's side."""
NARROWEST = 16
"""Pixels of a picture's shorter side; in a narrower one a few pixels of a stroke would be a strip."""
EVEN, CLEAR, ENDED = 0.15, 0.25, 0.05
"""How little a strip varies along the edge, how much it differs from what lies within, and how little what ends it."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom; right and bottom are past the end."""


class Page(NamedTuple):
    """What is left of a picture, and how many rows and columns have been cut off before it; added ones are negative."""

    grey: Grey
    top: int = 0
    left: int = 0

    def within(self, whole: "Page") -> "Page":
        """Give this page of a page as a page of the first picture."""
        return Page(self.grey, whole.top + self.top, whole.left + self.left)

    def back(self, box: Box, shape: tuple[int, ...]) -> Box:
        """Give where a box is in the picture, that was found in this page enlarged to a shape."""
        scale = max(self.grey.shape) / max(shape)
        left, top, right, bottom = (side * scale for side in box)
        return left + self.left, top + self.top, right + self.left, bottom + self.top


def cut_out(grey: Grey) -> Page:
    """Mends the desk around a page: gives the page alone, going on where it is turned; else the picture as it is."""
    whole, small, page = _found(grey)
    return whole if page is None else _alone(whole.grey, small, page).within(whole)


def without_note(grey: Grey) -> Page | None:
    """Mends a note, a label or a patch of sun on a page, which passes for the page: gives the page without it.

    Gives None where there is none, or it is so large that it may be a sheet on a desk.
    """
    whole, small, page = _found(grey)
    return None if page is None or page.mean() > LARGEST_NOTE else _alone(whole.grey, small, ~page).within(whole)


def _found(grey: Grey) -> tuple[Page, Grey, Mask | None]:
    """Give a picture without the strips along its edges, made small, and where in that a page is."""
    whole = trim(grey)
    scale = COARSE / max(whole.grey.shape)
    if scale > FINEST:
        return whole, whole.grey, None
    resample = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    small = np.asarray(resize(Image.fromarray(whole.grey), scale, resample)).clip(0, 1)
    return whole, small, find_page(small)


def _alone(grey: Grey, small: Grey, page: Mask) -> Page:
    """Give the box of a page; in its corners, where the page is turned, the page goes on, as bright as it is near."""
    inner = np.asarray(Image.fromarray(page).convert("L").filter(ImageFilter.MinFilter(MARGIN))) > 0
    if not inner.any():
        return Page(grey)
    weight = inner.astype(np.float32)
    light, near = _blurred(weight * small), _blurred(weight)
    bright = (light + FAR * np.median(small[inner])) / (near + np.float32(FAR))
    soft, bright = (_enlarged(values, grey.shape) for values in (weight, bright))
    soft = (2 * soft - 1).clip(0, 1)
    rows, columns = box_of(soft > 0)
    whole = (soft * grey + (1 - soft) * bright).clip(0, 1)
    return Page(whole[rows, columns], rows.start, columns.start)


def _blurred(values: Grey) -> Grey:
    image = Image.fromarray(np.round(255 * values).astype(np.uint8)).filter(ImageFilter.GaussianBlur(8))
    return np.asarray(image, np.float32) / np.float32(255)


def _enlarged(values: Grey, shape: tuple[int, ...]) -> Grey:
    height, width = shape
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR))


def trim(grey: Grey) -> Page:
    """Mends the border of a canvas and the dark edges of a scan: even thin strips along the edges are cut off."""
    if min(grey.shape) < NARROWEST:
        return Page(grey)
    strips = []
    for _ in range(4):  # above, on the right, below, on the left
        strips.append(_strip(grey))
        grey = np.rot90(grey[strips[-1] :])
    return Page(grey, strips[0], strips[3])


def _strip(grey: Grey) -> int:
    """Give the rows of a strip along the upper edge; 0 where there is none."""
    most = round(THICKEST * len(grey))
    low, strip, high = np.percentile(grey[0], (1, 50, 99))
    within = float(np.median(grey[most : 4 * most + 1]))
    if most < 1 or high - low > EVEN or abs(within - strip) < CLEAR:
        return 0
    ended = np.flatnonzero(abs(np.median(grey[: most + 1], axis=1) - within) < ENDED)
    return int(ended[0]) + 1 if len(ended) else 0
