"""Ruled lines, graph paper and the frames of forms: straight thin lines that are no part of a digit, taken out.

What tells a rule from a stroke is where it ends: at the edge of the picture, or on another rule. A stroke ends freely.
"""

from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from client.grey import Grey
from client.regions import Mask, find_regions

BINS = 40
"""Stretches into which the picture is divided along a line."""
FILLED = 0.6
"""Part of a stretch that is ink where there is a line; noise fills less."""
GENTLE, STEEPEST = 0.1, 0.3
"""How far a line may fall or rise on its way, as a part of it: 6° or 17° each way, ..."""
_STEEP = np.linspace(GENTLE, STEEPEST, 29)[1:]
SLOPES = np.concatenate([-_STEEP[::-1], np.linspace(-GENTLE, GENTLE, 41), _STEEP])
"""... so near to each other that a line of one pixel, or of steep ones two, is followed from edge to edge."""
SHORTEST = 0.4
"""Length of a rule, of the picture's side."""
LONG, PARALLEL = 0.8, 0.03
"""A steep line is as long as this, and others have nearly its slope."""
THICKEST = 0.04
"""Thickness of a rule, of the picture's side."""
SOFT = 2
"""Pixels of a line's soft edges, which count as it is looked for in pale ink, too."""
NEAR = 0.05
"""Distance from another rule, of the picture's side, at which a rule ends there; at an edge it is a stretch."""
PALE = 0.45
"""A rule fades in and out of what counts as ink, a line of one pixel in every picture that was made smaller; it is
looked for in what is this much paler, too."""
DARKER = 0.25
"""Ink on a rule that is so much darker than the middle of the rule, of the darkest, is a stroke's."""
SMALLEST_DIGIT = 0.08
"""Length of a digit, of the picture's shorter side: where nothing of this size is left, the lines were the digit."""


@dataclass(frozen=True)
class Rule:
    """A nearly level line: `middle` is its row in the middle of the picture, and it runs from column `left` to `right`.

    A nearly upright one is described the same way in the turned picture.
    """

    middle: float
    slope: float
    left: float
    right: float
    thickness: int

    def row(self, column: float, width: int) -> float:
        """Give its row at a column."""
        return self.middle + self.slope * (column - width / 2)

    def is_across(self, width: int) -> bool:
        """Tell whether it runs from edge to edge."""
        return self.left <= 0 and self.right >= width

    def is_parallel(self, other: "Rule") -> bool:
        """Tell whether another one runs beside it."""
        return other is not self and abs(other.slope - self.slope) < PARALLEL


Lines = tuple[Grey, Mask, list[Rule]]
"""The ink of a picture, where it is, and its nearly level rules."""


def erase_rules(ink: Grey, threshold: float, digit: Mask) -> Grey | None:
    """Mends lined paper and forms: takes out the rules that hang together with a digit, not the strokes across them.

    `digit` is all that may be a digit, with its rules. Gives None when there are none.
    """
    if max(digit.any(0).mean(), digit.any(1).mean()) < SHORTEST:
        return None
    mask, pale = ink > threshold, ink > PALE * threshold
    level, upright = _ended(find_rules(pale), find_rules(pale.T, beside=2), mask.shape)  # two slanted 1s are no rules
    over = _all_covered((ink, pale, level), (ink.T, pale.T, upright))
    found = (over & digit).any() and holds_digit(mask & ~over)
    return np.where(over, 0, ink) if found else None


def find_rules(mask: Mask, beside: int = 1) -> list[Rule]:
    """Find nearly level straight lines of at least SHORTEST, and of steep ones those that have so many others beside.

    Most pictures have none, and are done at once.
    """
    height, width = mask.shape
    if min(mask.shape) < BINS or mask.any(0).mean() < SHORTEST:
        return []
    starts = np.arange(BINS + 1) * width // BINS
    wide = np.pad(mask, ((1, 1), (0, 0)))
    wide = wide[:-2] | wide[1:-1] | wide[2:]  # a line wavers by a pixel
    filled = np.add.reduceat(wide, starts[:-1], axis=1, dtype=np.int16) / np.diff(starts)
    covered = np.pad(filled > FILLED, ((0, 1), (0, 0)))
    may_be_steep = np.count_nonzero(covered.any(0)) >= LONG * BINS
    slopes = SLOPES if may_be_steep else SLOPES[np.abs(SLOPES) <= GENTLE]
    lengths, ends = _longest_runs(covered, starts[:-1], slopes, width)
    steep = np.abs(slopes) > GENTLE
    lengths[steep] *= lengths[steep] >= LONG * BINS
    found: list[Rule] = []
    while len(found) < 16 and (best := int(lengths.max())) >= SHORTEST * BINS:
        slope, row = np.unravel_index(int(np.argmax(_plateau(lengths, best))), lengths.shape)
        top, bottom = _extent(lengths[slope] >= 0.85 * best, int(row))
        if bottom - top - 2 <= THICKEST * height + SOFT:
            right = int(ends[slope, row]) + 1
            left, thickness = right - best, max(1, bottom - top - 2)
            edges = left * width / BINS, right * width / BINS
            found.append(Rule((top + bottom - 1) / 2, float(slopes[slope]), edges[0], edges[1], thickness))
        reach = max(3, round(0.02 * height))
        lengths[:, max(0, top - reach) : bottom + reach] = 0
    return [rule for rule in found if abs(rule.slope) <= GENTLE or sum(map(rule.is_parallel, found)) >= beside]


def _longest_runs(
    covered: Mask, starts: NDArray[np.intp], slopes: NDArray[np.float64], width: int
) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Give for each slope and row how many stretches in a row are covered, and which is the last of them."""
    height = len(covered) - 1  # the last row is blank: what lies outside the picture
    shifts = np.round(slopes[:, None] * (starts + width / BINS / 2 - width / 2)).astype(int)
    rows = np.arange(height)[None, :, None] + shifts[:, None, :]
    rows[(rows < 0) | (rows >= height)] = height
    along = covered[rows, np.arange(BINS)]
    run, best, end = (np.zeros(along.shape[:2], np.int16) for _ in range(3))
    for stretch in range(BINS):
        run = (run + 1) * along[:, :, stretch]
        better = run > best
        best[better], end[better] = run[better], stretch
    return best, end


def _plateau(lengths: NDArray[np.int16], best: int) -> NDArray[np.int16]:
    """Give how long the neighbours are where the longest are: the middle of a thick line wins, and its true slope."""
    around = np.pad(lengths, ((0, 0), (2, 2)))
    total = sum(around[:, at : at + lengths.shape[1]] for at in range(5))
    return np.where(lengths == best, total, 0)


def _extent(long: Mask, row: int) -> tuple[int, int]:
    """Give the rows around one that belong to the same line."""
    at = 0
    for inside, group in groupby(long.tolist()):
        size = len(list(group))
        if inside and at <= row < at + size:
            return at, at + size
        at += size
    return row, row + 1


def _ended(level: list[Rule], upright: list[Rule], shape: tuple[int, ...]) -> tuple[list[Rule], list[Rule]]:
    """Keep the lines with both ends at an edge of the picture or on another line that is kept."""
    height, width = shape
    while True:
        kept = [rule for rule in level if _ends(rule, upright, width, height)]
        others = [rule for rule in upright if _ends(rule, kept, height, width)]
        if (kept, others) == (level, upright):
            return kept, others
        level, upright = kept, others


def _ends(rule: Rule, across: list[Rule], width: int, height: int) -> bool:
    reach = NEAR * height
    stops = [one.row(rule.middle, height) for one in across if one.left - reach <= rule.middle <= one.right + reach]
    at_edge = rule.left <= width / BINS, rule.right >= width - width / BINS
    return all(
        edge or any(abs(end - stop) <= NEAR * width for stop in stops)
        for edge, end in zip(at_edge, (rule.left, rule.right), strict=True)
    )


def _all_covered(level: Lines, upright: Lines) -> Mask:
    """Mark the ink of level rules, and that of upright ones in the turned picture.

    A picture's rules are drawn by one pen: a stroke that happens to end on two of them is darker than most.
    """
    tones = [_tone(*_along(ink, mask, rule)[:2]) for ink, mask, rules in (level, upright) for rule in rules]
    usual = float(np.median(tones)) if tones else 0.0
    return _covered(*level, usual) | _covered(*upright, usual).T


def _covered(ink: Grey, mask: Mask, rules: list[Rule], usual: float) -> Mask:
    """Mark the ink of rules: stretches across them that are no longer than a rule is thick, and hardly darker."""
    over = np.zeros_like(mask)
    if not rules:
        return over
    height, width = mask.shape
    rows = np.arange(height, dtype=np.int32)[:, None]
    above = np.maximum.accumulate(np.where(mask, -1, rows), axis=0)
    below = np.minimum.accumulate(np.where(mask, height, rows)[::-1], axis=0)[::-1]
    lengths = below - above - 1
    for rule in rules:
        line, near, columns = _along(ink, mask, rule)
        if near.any():
            longest = 1.5 * float(np.median(lengths[:, columns][near])) + 1
            tone = _tone(line, near) if rule.is_across(width) else min(_tone(line, near), usual)
            over[:, columns] |= near & (lengths[:, columns] <= longest) & (line <= tone + DARKER)
    return over


def _along(ink: Grey, mask: Mask, rule: Rule) -> tuple[Grey, Mask, slice]:
    """Give the columns of a rule: their ink, which of it is near to the rule, and which they are."""
    height, width = mask.shape
    columns = slice(max(0, int(rule.left) - 2), min(width, int(rule.right) + 2))
    centre = rule.middle + rule.slope * (np.arange(columns.start, columns.stop) - width / 2)
    near = np.abs(np.arange(height, dtype=np.int32)[:, None] - centre) <= rule.thickness / 2 + 2
    return ink[:, columns], near & mask[:, columns], columns


def _tone(line: Grey, near: Mask) -> float:
    """Give how dark a rule is in its middle; of a rule of 3 pixels its soft edges, half as dark, are most."""
    middle = np.where(near, line, 0).max(0)
    return float(np.median(middle[middle > 0])) if near.any() else 0.0


def holds_digit(mask: Mask) -> bool:
    """Tell whether something that may be a digit is left, away from the edges of the picture."""
    regions, least = find_regions(mask, 16), SMALLEST_DIGIT * min(mask.shape)
    inside = [region for region in regions if region.length >= least and not region.is_cut(mask.shape)]
    return any(region.area > 0.3 * regions[0].area for region in inside)
