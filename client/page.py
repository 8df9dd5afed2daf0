"""A page, a note or a board that does not fill the picture: cut out, before what lies around it passes for ink."""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from client.grey import Grey
from client.image import resize
from client.paper import border, otsu
from client.regions import Mask, box_of, find_regions, paint
from client.shapes import between, grown, is_rectangle, largest

COARSE = 96
"""Pixels of the longer side at which a page is looked for; ..."""
FINEST = 2.5
"""... no picture is made larger than so many times for that: of 28 pixels a digit takes most."""
MOST_BORDER = 0.35
"""What takes more of the picture's border is not a page but what it lies on."""
CORNER, LARGE, ACROSS = 0.56, 0.6, 0.8
"""But so much may be a page in a corner that takes this part of the picture, and of no two opposite sides so much."""
WHOLE, LEAST_WHOLE, SHARPEST = 0.7, 0.25, 0.96
"""Of a page with ink that hangs together with what is around it so much is paper, it takes so much of the picture,
unlike a square of graph paper that a stroke crosses, and fills so much of that box: bold strokes with gaps 0.94."""
FINGER, MOST, FULLER = 0.25, 0.8, 0.9
"""Breadth of a finger, of the page's side, and how much is left of page and finger when what is so narrow falls off,
and how much of that box it fills."""
INKED = 0.005
"""Ink on such a page, of its area."""
LONGEST = 2.3
"""How many times as long as wide a page is; sheets of paper are 1.4 times."""
UNLIKE = 0.12
"""How much what lies beyond a page's edge differs from it: beyond a frame there is paper again."""
MARGIN = 5
"""Pixels of MinFilter, at COARSE, by which a page is made smaller, as its edge is blurred and has a shadow."""
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
    whole = trim(grey)
    scale = COARSE / max(whole.grey.shape)
    if scale > FINEST:
        return whole
    resample = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    small = np.asarray(resize(Image.fromarray(whole.grey), scale, resample)).clip(0, 1)
    page = find_page(small)
    if page is None:
        return whole
    return _alone(whole.grey, small, page).within(whole)


def find_page(small: Grey) -> Mask | None:
    """Find a light or dark rectangle, with the ink on it, that something else lies around."""
    if np.ptp(small) < UNLIKE:
        return None
    level = otsu(small)
    for mask in (small > level, small <= level):
        page = _whole_page(small, mask)
        if page is not None:
            return page
    for mask in _lightest(small, level):
        page = _whole_page(small, mask)
        if page is not None and _is_sharp(small, page):
            return page
    return _held_page(small, small > level) if border(small > level).mean() <= MOST_BORDER else None


def _lightest(small: Grey, level: float) -> list[Mask]:
    """Mends a hand that holds the page, or a face behind it: what is lighter than these, which are light themselves."""
    light = small[small > level]
    if not light.size or np.ptp(light) <= UNLIKE:
        return []
    mask = small > otsu(light)
    return [mask] if border(mask).mean() <= CORNER else []


def _whole_page(small: Grey, mask: Mask) -> Mask | None:
    """Give the largest region of a mask, with all on it, where it is a page."""
    page = largest(mask)
    if page is None:
        return None
    whole = between(page) | between(page.T).T
    has_corners = is_rectangle(page, LONGEST) or _is_page(whole, mask)
    return whole if has_corners and _lies_on(small, page) and _stands_out(small, page) else None


def _held_page(small: Grey, mask: Mask) -> Mask | None:
    """Mends fingers as light as the page that they hold, and stripes of the desk: what is so narrow falls off."""
    held = largest(mask)
    if held is None:
        return None
    area = np.count_nonzero(held)
    reach = round(FINGER * area**0.5 / 2)
    page = paint(find_regions(grown(~grown(~held, reach), reach), 1), mask.shape)
    has_ink = np.count_nonzero(page & ~mask) > INKED * area  # a bold 1 has none on it
    is_page = (
        has_ink
        and np.count_nonzero(page) > MOST * area
        and is_rectangle(page, LONGEST, FULLER)
        and _is_sharp(small, page)
    )
    return page if is_page and _lies_on(small, page) and _stands_out(small, page) else None


def _lies_on(small: Grey, page: Mask) -> bool:
    """Tell whether a page lies on something, and is not what something lies on: that takes much of the border."""
    share = border(page).mean()
    return bool(share <= MOST_BORDER or (share <= CORNER and _is_large(page) and _is_sharp(small, page)))


def _is_large(mask: Mask) -> bool:
    """Tell whether a region takes most of the picture, and does not go on at two opposite sides."""
    above, left, below, right = (float(side.mean()) for side in (mask[0], mask[:, 0], mask[-1], mask[:, -1]))
    return bool(mask.mean() >= LARGE and max(min(above, below), min(left, right)) <= ACROSS)


def _is_sharp(small: Grey, page: Mask) -> bool:
    """Tell whether the picture changes at the edge of a page: where light falls off it does so everywhere."""
    beyond, within = (small[grown(mask, 4) & ~grown(mask, 1)] for mask in (page, ~page))
    return bool(beyond.size and within.size) and abs(float(np.median(beyond) - np.median(within))) > UNLIKE


def _is_page(whole: Mask, paper: Mask) -> bool:
    """Tell whether a region and all between its parts are a page, of which ink goes to its edge and beyond."""
    is_paper = np.count_nonzero(whole & paper) > WHOLE * np.count_nonzero(whole)
    return bool(is_paper and whole.mean() > LEAST_WHOLE and is_rectangle(whole, LONGEST, SHARPEST))


def _stands_out(small: Grey, page: Mask) -> bool:
    around = grown(page, 8) & ~grown(page, 4)
    return not around.any() or abs(float(np.median(small[around]) - np.median(small[page]))) > UNLIKE


def _alone(grey: Grey, small: Grey, page: Mask) -> Page:
    """Give the box of a page; in its corners, where the page is turned, the page goes on, as bright as it is near."""
    inner = np.asarray(Image.fromarray(page).convert("L").filter(ImageFilter.MinFilter(MARGIN))) > 0
    if not inner.any():
        return Page(grey)
    weight = inner.astype(np.float32)
    light, near = _blurred(weight * small), _blurred(weight)
    around = (light + 1e-3 * np.median(small[inner])) / (near + np.float32(1e-3))
    soft, around = (_enlarged(values, grey.shape) for values in (weight, around))
    soft = (2 * soft - 1).clip(0, 1)
    rows, columns = box_of(soft > 0)
    whole = (soft * grey + (1 - soft) * around).clip(0, 1)
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
