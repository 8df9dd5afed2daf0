"""Values of 0 and 1, or up to a few of 256 levels, in a file: a mask that a program has saved, which looks black."""

import numpy as np
from PIL import Image

from client import grey
from client.grey import Grey
from client.ink import FAINTEST
from client.paper import border
from client.regions import find_regions, paint
from client.strokes import stroke_width

SMALLEST, MOST = 0.08, 0.5
"""Length of a digit, of the picture's longer side, and part of all that is not paper: noise is specks, ..."""
THICKEST = 0.4
"""... and breadth of its strokes, of that length: the light in a dark photo has 0.43 to 0.5."""


def to_grey(image: Image.Image) -> Grey:
    """Mends masks: gives how bright a picture is, in the levels that it has if something is drawn with them."""
    given = grey.to_grey(image)
    low, high = given.min(), given.max()
    return (given - low) / (high - low) if low < high < low + FAINTEST and _is_drawn(given) else given


def _is_drawn(given: Grey) -> bool:
    """Tell whether there are strokes of one value, or more, on paper of exactly one; noise leaves no border as it is.

    Gives False for a blank picture.
    """
    paper = np.median(border(given))
    ink = np.abs(given - paper) > np.ptp(given) / 2
    digits = [one for one in find_regions(ink, 64) if one.length > SMALLEST * max(ink.shape)]
    drawn = paint(digits, ink.shape)
    if sum(one.area for one in digits) <= MOST * np.count_nonzero(ink) or np.ptp(border(np.where(drawn, paper, given))):
        return False
    return bool(stroke_width(drawn) < THICKEST * max(one.length for one in digits))
