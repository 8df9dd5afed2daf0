"""The digits of a number in one picture, line by line from left to right: where they are, and what the network sees."""

from dataclasses import dataclass, field
from itertools import chain, groupby
from typing import Any

import numpy as np

from client.answers import Prediction
from client.digit import clear_page, threshold
from client.errors import NoDigit
from client.faint import to_grey
from client.image import Decoded
from client.margin import with_margin
from client.mnist import Pixels, normal
from client.page import Box
from client.pale import palest_stroke, with_hairlines
from client.prepare import Picture, decoded, path_told
from client.regions import Region, find_regions, paint
from client.rules import erase_rules
from client.strokes import NEXT_LINE, gap, strokes

WORKING_SIZE = 960
"""Pixels of the longer side: enough for ten digits in a row."""
LOWEST = 0.45
"""Height of a digit, of the highest; what is lower is a point, a dash, or a part of a digit above or below it."""
HIGHEST = 1.5
"""Height of a digit that the edge cuts, of the others; what is higher is the shadow or the page's edge."""
WIDEST = 1.25
"""Width of a digit, of its height, past which two of them probably touch."""
NO_DIGIT = "no digit found"
"""The note of a picture without any."""
LINES = "several lines?"
"""The note of a picture with a digit below another: each line is read by itself, the topmost first."""
LEVEL = 0.5
"""How much of the lower of two digits in a line is level with the other; of a slanted line's two neighbours 0.6."""
CUT = "cut digit?"
"""The note of a picture whose edge cuts something as high as its digits, which is left out."""
TOUCHING = "touching digits?"
"""The note of a place that may hold more than one."""

PixelBox = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels of the upright picture; right and bottom are past the end."""


@dataclass(frozen=True)
class Place:
    """A digit's box in the picture, and what the network sees of it."""

    box: PixelBox
    pixels: Pixels = field(compare=False)  # an array's == is none
    notes: tuple[str, ...] = ()
    line: int = 0


@dataclass(frozen=True)
class Number:
    """A number in a picture: its places from left to right, the prediction for each once it was read, and notes.

    Places are in the order of their lines, the topmost first; str() gives the digits, and a line break between lines.
    """

    places: tuple[Place, ...] = ()
    predictions: tuple[Prediction, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        pairs = zip(self.places, self.predictions, strict=False)  # without predictions it is empty
        lines = groupby(pairs, lambda pair: pair[0].line)
        return "\n".join("".join(str(one.digit) for _, one in line) for _, line in lines)

    @property
    def probability(self) -> float:
        """How probable it is that all digits are right, if they are independent."""
        return float(np.prod([one.probability for one in self.predictions]))

    def digits(self) -> list[dict[str, Any]]:
        """Give each prediction's fields with its box."""
        pairs = zip(self.places, self.predictions, strict=True)
        return [{**vars(one), "box": place.box, "notes": place.notes} for place, one in pairs]


def find_number(picture: Picture) -> Number:
    """Find the places of a number. Raises InvalidImage, and NoDigit when there are none, with the path of a file."""
    with path_told(picture):
        return _find(decoded(picture, WORKING_SIZE))


def _find(whole: Decoded) -> Number:
    wide = with_margin(to_grey(whole.image), is_number=True)
    sheet, ink = clear_page(wide)
    level = threshold(ink)
    everything = ink > level
    cleared = erase_rules(ink, level, everything)
    ink = ink if cleared is None else cleared
    scale = whole.length / max(whole.image.size)
    places = []
    pieces = strokes(find_regions(ink > level, 64), ink.shape)
    regions = find_digits(pieces, ink.shape)
    digits = [(line, parts) for line, of_line in enumerate(split_lines(regions)) for parts in group(of_line)]
    if not digits:
        raise NoDigit(NO_DIGIT)
    palest = palest_stroke(ink, paint(chain(*(parts for _, parts in digits)), ink.shape), level)
    for line, parts in digits:
        left, right = min(part.left for part in parts), max(part.right for part in parts)
        top, bottom = min(part.top for part in parts), max(part.bottom for part in parts)
        box = sheet.back((left, top, right, bottom), ink.shape)
        mask = with_hairlines(ink, paint(parts, ink.shape), palest, level)
        notes = (TOUCHING,) if right - left > WIDEST * (bottom - top) else ()
        places.append(Place(_in_pixels(box, scale), normal(ink, mask), notes, line))
    doubts = {LINES: has_lines(regions), CUT: has_cut(pieces, regions)}
    return Number(tuple(places), notes=(*whole.notes, *(doubt for doubt, holds in doubts.items() if holds)))


def _in_pixels(box: Box, scale: float) -> PixelBox:
    left, top, right, bottom = (round(side * scale) for side in box)
    return left, top, right, bottom


def find_digits(regions: list[Region], shape: tuple[int, ...]) -> list[Region]:
    """Keep what may be ink of digits: no specks, and nothing that the edge of the picture cuts, if there is more."""
    inside = [region for region in regions if not region.is_cut(shape)] or regions
    highest = max((region.height for region in inside), default=0)
    return [region for region in inside if region.length > 0.15 * highest]


def group(regions: list[Region]) -> list[list[Region]]:
    """Put the strokes of a digit together, which stand above each other, and give the digits from left to right."""
    groups: list[list[Region]] = []
    for region in sorted(regions, key=lambda region: -region.area):
        for parts in groups:
            if _overlap(region, parts) > 0.5:
                parts.append(region)
                break
        else:
            groups.append([region])
    highest = max((_height(parts) for parts in groups), default=0)
    high = [parts for parts in groups if _height(parts) > LOWEST * highest]
    return sorted(high, key=lambda parts: min(part.left for part in parts))


def has_lines(regions: list[Region]) -> bool:
    """Tell whether a digit stands below another, or below its neighbour; a slanted line ends below its beginning."""
    highest = max((region.height for region in regions), default=0)
    digits = [region for region in regions if region.height > LOWEST * highest]
    return any(
        low.top - high.bottom > NEXT_LINE * highest
        and max(low.left, high.left) - min(low.right, high.right) < highest / 2
        for high in digits
        for low in digits
    )


def split_lines(regions: list[Region]) -> list[list[Region]]:
    """Put the strokes of each line together, the topmost line first; there is one where no digit is below another."""
    if not has_lines(regions):
        return [regions]
    highest = max(region.height for region in regions)
    lines: list[list[Region]] = []
    for digit in sorted((one for one in regions if one.height > LOWEST * highest), key=lambda one: one.left):
        near = [one for one in lines if _level(digit, one[-1]) > LEVEL or gap(digit, one[-1]) < NEXT_LINE * highest]
        if near:
            max(near, key=lambda line: _level(digit, line[-1])).append(digit)
        else:
            lines.append([digit])
    lines.sort(key=lambda line: sum(one.top + one.bottom for one in line) / len(line))
    whole = [line.copy() for line in lines]
    for part in (one for one in regions if one.height <= LOWEST * highest):
        nearest = min(range(len(lines)), key=lambda at: min(gap(part, one) for one in lines[at]))
        whole[nearest].append(part)
    return whole


def _level(one: Region, other: Region) -> float:
    """Give how much of the lower one's height is level with the other."""
    return (min(one.bottom, other.bottom) - max(one.top, other.top)) / min(one.height, other.height)


def has_cut(pieces: list[Region], digits: list[Region]) -> bool:
    """Tell whether one of some pieces of ink may be a digit in the row of those that were taken, but was left out."""
    tallest = max(digits, key=lambda region: region.height)
    return any(
        LOWEST < region.height / tallest.height < HIGHEST
        and region.width < WIDEST * tallest.height
        and min(region.bottom, tallest.bottom) - max(region.top, tallest.top) > tallest.height / 2
        for region in pieces
        if region not in digits
    )


def _overlap(region: Region, parts: list[Region]) -> float:
    """Give how much of a region's width lies above or below a digit's other strokes."""
    left, right = min(part.left for part in parts), max(part.right for part in parts)
    return (min(right, region.right) - max(left, region.left)) / region.width


def _height(parts: list[Region]) -> int:
    return max(part.bottom for part in parts) - min(part.top for part in parts)
