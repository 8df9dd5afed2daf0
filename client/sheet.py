"""A page, a note or a board in a picture that is made small, found by its corners and by what lies around it."""

import numpy as np

from client.grey import Grey
from client.paper import border, otsu
from client.regions import Mask, find_regions, paint
from client.shadow import shaded_pages
from client.shapes import SMALLEST, between, grown, is_rectangle, largest

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


def find_page(small: Grey) -> Mask | None:
    """Find a light or dark rectangle, with the ink on it, that something else lies around."""
    if np.ptp(small) < UNLIKE:
        return None
    shaded = next((page for page in shaded_pages(small) if _is_paper(small, page)), None)
    if shaded is not None:
        return shaded
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


def _is_paper(small: Grey, page: Mask) -> bool:
    return bool(page.mean() > SMALLEST and is_rectangle(page, LONGEST) and _lies_on(small, page))


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
