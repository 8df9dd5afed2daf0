"""A page with a hard shadow across it, of a hand, a phone or a window's frame: found by its two tones.

Both of a page's parts may be lighter or darker than the desk beside them, but each differs from it as much.
"""

from collections.abc import Iterator
from itertools import permutations

import numpy as np

from client.grey import Grey
from client.paper import border, lightest
from client.regions import Mask, find_regions, paint
from client.shapes import between, grown

THIN = 2
"""Pixels that dark lines, ink and rules, are thicker on either side than what is left out."""
EVEN = 1.08
"""How many times as light as the darkest the lightest of 3×3 pixels of one tone is: of paper 1.03, of an edge 1.2."""
MOST, SMALLEST = 6, 0.02
"""How many parts of one tone are looked at, and the area of one, of the picture's."""
EDGE = 3
"""Pixels of a shadow's soft edge, on either side of its middle."""
DEEPEST, PALEST = 0.2, 0.85
"""How light paper is in a shadow, of what it is beside that."""
STEP = 0.1
"""How much less light it is at least, of white: the smudges of a dark board differ by less."""
MOST_BORDER = 0.56
"""What takes more of the picture's border is no page."""
CLEAR = 0.12
"""How much the desk differs from the paper beside it, which may both be in the shadow, of that."""
LEAST, UTMOST = 0.7, 1.4
"""How light the desk is in the shadow, of what it is beside that, as often as the paper: beyond two pages of which one
is darker it is as light everywhere."""


def shaded_pages(small: Grey) -> Iterator[Mask]:
    """Mends a hard shadow across page and desk: gives each two parts of one tone that may be a page together."""
    tones = _without_lines(small)
    parts = _parts(tones)
    lights = [float(np.median(tones[part]).clip(0.01)) for part in parts]
    for lit, shaded in permutations(range(len(parts)), 2):
        both = parts[lit] | parts[shaded]
        if _is_shadow(lights[lit], lights[shaded]) and border(both).mean() < MOST_BORDER:
            page = _joined(both)
            beyond = tones * (grown(page, 5) & ~grown(page, 2))
            if _goes_on(*(_beside(beyond, parts[part]) / lights[part] for part in (lit, shaded))):
                yield page


def _is_shadow(lit: float, shaded: float) -> bool:
    return DEEPEST < shaded / lit < PALEST and lit - shaded > STEP


def _without_lines(small: Grey) -> Grey:
    around = np.pad(small, 2 * THIN, "edge")
    return -lightest(-lightest(around, THIN), THIN)


def _parts(tones: Grey) -> list[Mask]:
    """Give the largest parts that have no edge in them; where a shadow's edge and a page's cross, four of them meet."""
    around = np.pad(tones, 1, "edge")
    even = lightest(around, 1) < EVEN * -lightest(-around, 1)
    return [paint([one], even.shape) for one in find_regions(even, MOST) if one.area > SMALLEST * even.size]


def _joined(parts: Mask) -> Mask:
    """Give two parts with the edge between them."""
    whole = ~grown(~grown(parts, EDGE), EDGE - 1)
    return between(whole) | between(whole.T).T


def _beside(beyond: Grey, part: Mask) -> float:
    """Give how light it is beyond the page beside a part of it; 0 where there is nothing."""
    beside = beyond[grown(part, 2 * EDGE) & (beyond > 0)]
    return float(np.median(beside)) if beside.size else 0.0


def _goes_on(beside_lit: float, beside_shaded: float) -> bool:
    """Tell whether the desk is as much darker where the page is, of how light it is beside each part, of that."""
    is_clear = all(abs(1 - light) > CLEAR for light in (beside_lit, beside_shaded))
    return is_clear and LEAST < beside_shaded / max(beside_lit, 0.01) < UTMOST
