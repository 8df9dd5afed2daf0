"""The 1 with an upstroke, as much of the world writes it: MNIST's American hands seldom do.

A network trained on MNIST alone takes one in six for a 7. Here a part of MNIST's ones gets an upstroke.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from client.digit import centre, fit
from training.data import Array

Point = NDArray[np.float64]
"""x to the right and y down, in pixels."""
Random = np.random.Generator

WIDTHS = 0.7, 1.1
"""Of the stem's."""
ANGLES = math.radians(25), math.radians(60)
"""Between upstroke and stem."""
FLATTEST = math.radians(60)
"""From the vertical: an upstroke that is flatter makes a 7."""
LENGTHS = 0.2, 0.7
"""Of the stem's."""
BROADEST = 0.5
"""Of its length: a one that is broader has an upstroke or a foot already."""
FINE = 4
"""The upstroke is drawn on so many times as many pixels, and made smaller with the digit."""


class Stem(NamedTuple):
    """A one's stroke: its top, its direction down (of length one), and its length, width and breadth in pixels."""

    top: Point
    down: Point
    length: float
    width: float
    breadth: float


def with_upstrokes(images: Array, labels: Array, share: float, seed: int) -> Array:
    """Give the images, uint8 [n, 28, 28], with an upstroke at a share of the ones; the same for the same seed."""
    random = np.random.default_rng(seed)
    ones = random.permutation(np.flatnonzero(labels == 1))
    result = images.copy()
    for index in ones[: round(share * len(ones))]:
        result[index] = add_upstroke(images[index], random)
    return result


def add_upstroke(image: Array, random: Random) -> Array:
    """Give a one an upstroke from the top of its stem down to the left, in MNIST's form; as it is, when it has one."""
    stem = find_stem(image)
    lean = math.atan2(-stem.down[0], stem.down[1])
    widest = min(ANGLES[1], FLATTEST - lean)
    if widest < ANGLES[0] or stem.breadth > BROADEST * stem.length:
        return image
    angle, reach, pen = (random.uniform(*limits) for limits in ((ANGLES[0], widest), LENGTHS, WIDTHS))
    left = math.cos(angle) * stem.down + math.sin(angle) * np.array([-stem.down[1], stem.down[0]])
    return _draw(image, (stem.top, stem.top + reach * stem.length * left), pen * stem.width)


def find_stem(image: Array) -> Stem:
    """Measure the one stroke of a 1 along the main axis of its ink."""
    y, x = np.nonzero(image > 127)
    points = np.stack([x, y], axis=1).astype(float)
    middle = points.mean(0)
    _, _, axes = np.linalg.svd(points - middle, full_matrices=False)
    down, across = axes[0] * math.copysign(1, axes[0][1]), axes[1]
    along = (points - middle) @ down
    length, breadth = float(np.ptp(along)) + 1, float(np.ptp((points - middle) @ across)) + 1
    width = len(points) / length
    return Stem(middle + (along.min() + width / 2) * down, down, length, width, breadth)


def _draw(image: Array, ends: tuple[Point, Point], width: float) -> Array:
    large = Image.fromarray(image).resize((image.shape[1] * FINE, image.shape[0] * FINE), Image.Resampling.BICUBIC)
    draw, radius = ImageDraw.Draw(large), width * FINE / 2
    line = [tuple((end + 0.5) * FINE) for end in ends]
    draw.line(line, fill=255, width=max(round(2 * radius), 1))
    for x, y in line:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    ink = np.asarray(large, np.float32) / np.float32(255)
    rows, columns = (np.flatnonzero((ink > 0.2).any(axis)) for axis in (1, 0))
    return centre(fit(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]))
