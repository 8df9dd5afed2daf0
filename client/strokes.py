"""Which regions of ink are strokes of the digit, and which are frames, lines, neighbours and dust."""

import numpy as np

from client.grey import Grey
from client.regions import Mask, Region, paint
from client.shapes import filled

WIDEST = 1.7
"""Width of a digit, of its height: of MNIST's 10,000 test images nine are wider."""
SMALLEST = 0.12
"""Length of a digit, of the picture's: beside one that stands free, ..."""
EMPTIEST = 0.12
"""... what is cut by the edge and fills so little of its own box is two sides of a frame, ..."""
LONGEST = 8
"""... and what is so many times as long as it is thick is one; ..."""
ROUNDEST = 0.4
"""... what is thicker than this part of its length is a thumb: a dot has 0.5, the boldest digit 0.35."""
SAME_PEN = 0.45
"""A part of a digit is at least so dark, of its main one: paler is a thumb, a crease or the edge of a shadow."""
FLAT = 3.5
"""An underline is so many times as wide as high, ..."""
BELOW = 0.04
"""... and so far below the digit, of its height: the foot of a 1 or 2 hangs together with it."""
AMID = 0.2
"""What is drawn around a digit has it in its middle, as near as this part of its own box."""
ENCLOSED = 0.22
"""Height of a digit that a line closes in, of the line's; the dot of a dotted 0 is smaller."""
ROUND, DISC, AT_SIDE = 0.8, 0.7, 0.12
"""Width of a disc, of its length; how much of its box it fills, a circle pi / 4; how near the picture's side it is."""
NEAR, AT_EDGE = 0.5, 0.1
"""How near to each other, of the main one's length, parts of a digit stand. What the picture's edge cuts, and not the
main one, is a neighbour's or the next line's from about 0.1 on; a 5's bar that goes to the edge is nearer to its body.
"""
FULL, THICKER = 0.85, 1.5
"""How much of its box a button fills, for all that is written on it, and its height, of the breadth of strokes."""
NEXT_LINE = 0.1
"""How far above or below a digit, of its height, another one stands; parts of one digit stand nearer."""
LETTER, LETTERS = 0.4, 3
"""Length of a letter of small print, of the digit's beside it, and how many there are; fewer are parts of the digit."""
SPACED = 0.8
"""Space between the digit and that line, of the letters' height; the dots of a dotted digit are nearer together."""


def digit_mask(pieces: list[Region], ink: Grey) -> tuple[Mask, bool]:
    """Mends neighbours and dust: keeps the main one of some strokes, the largest first, and the parts near it.

    Tells, too, whether it looks as if there were several digits.
    """
    shape, pieces = ink.shape, without_corners(without_buttons(pieces, ink.shape), ink.shape)
    free = [r for r in pieces if not r.is_cut(shape)]
    free = [r for r in free if not is_underline(r, [one for one in free if one is not r and one.area > 0.1 * r.area])]
    if free and free[0].length > SMALLEST * max(shape):
        pieces = [region for region in pieces if region in free or not is_side(region, shape)]
    main = free[0] if free and free[0].area > 0.1 * pieces[0].area else pieces[0]
    palest, letters = SAME_PEN * tone(main, ink), print_around(main, pieces)
    digit, is_whole = [main], 2 * main.area > sum(one.area for one in pieces) and not main.is_cut(shape)
    for region in sorted((one for one in pieces if one not in letters), key=lambda region: gap(region, main)):
        reach = main.length * (AT_EDGE if region.is_cut(shape) and is_whole else NEAR)
        near = region.area > 0.02 * main.area and any(gap(region, part) < reach for part in digit)
        if near and not is_underline(region, digit) and tone(region, ink) > palest:
            digit.append(region)
    rivals = [region for region in free if is_rival(region, main)]
    return paint(digit, shape), bool(rivals) or main.width > WIDEST * main.height


def without_corners(pieces: list[Region], shape: tuple[int, ...]) -> list[Region]:
    """Mends the dark corners of a photo that a program has made black and white: takes out what goes to the end of one.

    A piece of a digit seldom does, though its box may; a digit that does has no more than small pieces beside it.
    """
    rest = [one for one in pieces if not one.has_corner(shape)]
    is_drawn = any(one.length > SMALLEST * max(shape) and one.area > 0.1 * pieces[0].area for one in rest)
    return rest if is_drawn else pieces


def without_buttons(pieces: list[Region], shape: tuple[int, ...]) -> list[Region]:
    """Mends screenshots: takes out solid lying rectangles that are lower than what is drawn and thicker than its pen.

    A stroke that lies, as the bar of a 5 does, is as thick as the others.
    """
    blocks = [one for one in pieces if one.width > one.height and one.area > FULL * one.width * one.height]
    drawn = [one for one in pieces if one not in blocks and one.area > 0.1 * pieces[0].area]
    if not blocks or not drawn:
        return pieces
    thickest = THICKER * stroke_width(paint(drawn[:1], shape))
    return [one for one in pieces if one not in blocks or not thickest < one.height < 0.5 * drawn[0].height]


def print_around(main: Region, pieces: list[Region]) -> list[Region]:
    """Mends small print above or below a digit, and the dashes of a box: gives its letters, of which there are several.

    Pieces of a stroke that skips may stand one above another.
    """
    small = [one for one in pieces if one.length < LETTER * main.length]
    rows = ([one for one in small if min(a.bottom, one.bottom) > max(a.top, one.top)] for a in small)
    return [one for one, row in zip(small, rows, strict=True) if len(row) >= LETTERS and _is_apart(row, main)]


def _is_apart(row: list[Region], main: Region) -> bool:
    """Tell whether there is space between a row and what is above or below; between the dots of a line is none."""
    space = min(max(main.top - one.bottom, one.top - main.bottom) for one in row)
    return space > SPACED * max(one.height for one in row)


def tone(region: Region, ink: Grey) -> float:
    """Give how dark the pen of a region is."""
    return float(np.percentile(ink[paint([region], ink.shape)], 75))


def is_underline(region: Region, others: list[Region]) -> bool:
    """Tell whether a region is a flat stroke at some distance below all others."""
    flat = region.width > FLAT * region.height
    return flat and bool(others) and all(region.top > one.bottom + BELOW * one.height for one in others)


def stroke_width(mask: Mask) -> float:
    """Give how thick the strokes of a digit are, in pixels."""
    around = np.pad(mask, 1)
    edges = np.count_nonzero(np.diff(around, axis=0)) + np.count_nonzero(np.diff(around, axis=1))
    return 2 * 1.27 * np.count_nonzero(mask) / max(int(edges), 1)  # pixels' edges overstate outlines 4/pi times


def strokes(regions: list[Region], shape: tuple[int, ...]) -> list[Region]:
    """Give what may be ink of a digit, the largest first: no frame, and no line or punched hole where there is more."""
    height, width = shape
    inside = [region for region in regions if not is_frame(region, regions, width, height)]
    inside = [region for region in inside if not is_line(region)] or inside
    holes = [region for region in inside if is_hole(region, shape)]
    drawn = [region for region in inside if region not in holes]
    return drawn if any(one.length > hole.length for one in drawn for hole in holes) else inside


def is_hole(region: Region, shape: tuple[int, ...]) -> bool:
    """Tell whether a region is a punched hole: a disc at the side of the picture."""
    height, width = shape
    is_disc = min(region.width, region.height) > ROUND * region.length
    is_filled = region.area > DISC * region.width * region.height
    down, across = (region.top + region.bottom) / 2 / height, (region.left + region.right) / 2 / width
    return is_disc and is_filled and min(down, across, 1 - down, 1 - across) < AT_SIDE


def is_rival(region: Region, main: Region) -> bool:
    """Tell whether a region is a digit, too: beside, above or below the main one, and nearly as high."""
    beside = region.left >= main.right or region.right <= main.left
    level = min(region.bottom, main.bottom) - max(region.top, main.top)
    apart = (beside and level > 0.6 * main.height) or -level > NEXT_LINE * main.height
    return apart and region.height > 0.6 * main.height and region.area > 0.25 * main.area


def is_frame(region: Region, regions: list[Region], width: int, height: int) -> bool:
    """Tell whether a region is a box or a circle drawn around the digit: nearly empty, and with something inside.

    What is smaller than the picture must have it in its middle.
    """
    if region.area > 0.3 * region.width * region.height:
        return False
    inner = [other for other in regions if region.surrounds(other)]
    if region.width < 0.7 * width or region.height < 0.7 * height:
        is_around = any(other.height > 0.33 * region.height and is_amid(other, region) for other in inner)
        return is_around or is_circle(region, inner, (height, width))
    return any(other.height > 0.2 * region.height for other in inner)


def is_circle(region: Region, inner: list[Region], shape: tuple[int, ...]) -> bool:
    """Tell whether a region is a round line that closes in a digit; the outline of a hollow digit is not round."""
    digits = [one for one in inner if one.height > ENCLOSED * region.height]
    if not digits:
        return False
    disc = filled(paint([region], shape))
    is_round = bool(np.count_nonzero(disc) > DISC * region.width * region.height)
    return is_round and any(disc[paint([one], shape)].all() for one in digits)


def is_amid(region: Region, frame: Region) -> bool:
    """Tell whether a region is in the middle of another's box."""
    down = abs(region.top + region.bottom - frame.top - frame.bottom) / 2
    across = abs(region.left + region.right - frame.left - frame.right) / 2
    return down < AMID * frame.height and across < AMID * frame.width


def is_side(region: Region, shape: tuple[int, ...]) -> bool:
    """Tell whether a region that is cut by the edge of the image may be sides of a frame, thin lines, or a thumb."""
    if region.area < EMPTIEST * region.width * region.height:
        return True
    mask = paint([region], shape)
    thickness, length = np.sqrt(np.linalg.eigvalsh(np.cov(np.argwhere(mask).T, bias=True)).clip(0))
    return bool(length > LONGEST * thickness or stroke_width(mask) > ROUNDEST * region.length)


def is_line(region: Region) -> bool:
    """Tell whether a region is a ruled line rather than a stroke."""
    return region.width > 8 * region.height


def gap(one: Region, other: Region) -> int:
    """Give the pixels between two boxes. Sideways counts double: that is where neighbours stand."""
    down = max(one.top, other.top) - min(one.bottom, other.bottom)
    across = max(one.left, other.left) - min(one.right, other.right)
    return max(0, down, 2 * across)
