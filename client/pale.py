"""Pale strokes that belong to a digit: of a pen that skips, and hairlines."""

import numpy as np

from client.grey import Grey
from client.paper import lightest
from client.regions import Mask, Region, box_of, find_regions, paint
from client.strokes import stroke_width

HAIRLINE = 0.35
"""A hairline is at least this dark, as a part of `level`, from which everything is ink."""
GRAIN = 1.5
"""A hairline stands out from the paper this much more than nearly all (99 %) of what is around the digit."""
CLEAN = 5.0
"""A pale stroke is so many times as dark as nine tenths of the paper are at most; ..."""
ALONE = 0.05
"""... there is no more other ink than this part of the digit's, ..."""
LEAST_PALE, MOST_PALE = 0.01, 1.5
"""... and so much that is pale: less is soft edges, more is dirt."""
APART = 4
"""Pixels from a digit's box at which its soft edges have ended."""
NEARBY = 0.7
"""How far around a pixel the darkest is looked for, of a stroke's breadth."""
EVENNESS = 0.7
"""0 leaves strokes as they are, 1 makes all of them as dark."""
PALE = 0.05
"""What is paler is not made darker than ink of this darkness would be."""


def with_pale_ink(ink: Grey, digit: Mask, pieces: Mask, level: float) -> Mask | None:
    """Mends a pen that skips: gives the digit with all ink under `level` that hangs together with it.

    It may lead to other pieces of ink. None where there is more on the paper, or the paper is not clean, as what is
    pale may be a crease, a rule or dirt there.
    """
    height, width = ink.shape
    size = np.count_nonzero(digit)
    paper = ~lightest(np.pad(pieces, APART), APART)
    palest = max(HAIRLINE * level, CLEAN * float(np.percentile(ink[paper], 90))) if paper.any() else level
    pale = ink > palest
    if palest >= level or not LEAST_PALE * size < np.count_nonzero(pale & paper) < MOST_PALE * size:
        return None
    joined = touching(pale, digit)
    whole = paint(joined, ink.shape)
    drawn = np.zeros_like(whole)
    drawn[box_of(whole & pieces)] = True  # a short flat stroke within the digit is no rule
    other = np.count_nonzero((ink > level) & ~(whole & drawn))
    return None if other > ALONE * size or any(one.is_cut(ink.shape) for one in joined) else whole


def palest_stroke(ink: Grey, digit: Mask, level: float) -> float:
    """Give the darkness from which a hairline is told from what is on the paper around the digit; at most `level`."""
    paper = np.ones_like(digit)
    paper[box_of(digit, APART)] = False
    grain = float(np.percentile(ink[paper], 99)) if paper.any() else level
    return min(max(HAIRLINE * level, GRAIN * grain), level)


def with_hairlines(ink: Grey, digit: Mask, palest: float, level: float) -> Mask:
    """Mends hairlines: ink from `palest` to `level` that hangs together with a digit, within its box, belongs to it."""
    box = box_of(digit)
    dark, pale = digit[box], (ink[box] > palest) & (ink[box] <= level)
    whole = digit.copy()
    if pale.any():
        whole[box] |= paint(touching(dark | pale, dark), dark.shape)
    return whole


def touching(mask: Mask, digit: Mask) -> list[Region]:
    """Give the regions of a mask that hang together with a digit in it."""
    return [one for one in find_regions(mask, 64) if (paint([one], mask.shape) & digit).any()]


def darken(ink: Grey, mask: Mask) -> Grey:
    """Mends a pen that skips or is pressed unevenly: a pale stroke becomes nearly as dark as the others."""
    reach = max(1, round(NEARBY * stroke_width(mask)))
    around = lightest(np.pad(ink, reach), reach).clip(PALE)
    return ink / np.float32(around**EVENNESS)
