"""The 1 with an upstroke, as much of the world writes it: MNIST's American hands seldom do.

A network trained on MNIST alone takes a third of them for other digits, most for a 7. Here a part of MNIST's ones gets
an upstroke. The stem stays as it is, pixel by pixel: a network that saw it resampled learned that ones with an upstroke
are blurred, and read sharp ones three to eight times as badly.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from training.data import Array

Point = NDArray[np.float64]
"""x to the right and y down, in pixels."""
Random = np.random.Generator

WIDTHS = 0.7, 1.1
"""Of the stem's."""
LENGTHS = 0.12, 0.85
"""Of the stem's."""
STEEPEST = math.radians(25)
"""Between upstroke and stem."""
FLATTEST = {0.3: math.radians(85), 0.5: math.radians(60), 0.85: math.radians(55)}
"""From the vertical, by the length, in an upright hand: a hook may be nearly flat, where a longer one makes a 7."""
BEND = math.radians(35)
"""Half of the upstrokes leave the stem flatter than they go on, by up to this."""
BROADEST, FATTEST = 0.5, 0.22
"""Of its length: a broader one has an upstroke or a foot already, and of a stroke so wide an upstroke makes a blot."""
SOFT = 0.3
"""Pixels by which the edge of an upstroke is blurred."""
FINE = 8
"""The upstroke is drawn on so many times as many pixels a side."""


class Stem(NamedTuple):
    """A one's stroke: its top, its direction down (of length one), and its length, width and breadth in pixels."""

    top: Point
    down: Point
    length: float
    width: float
    breadth: float

    @property
    def lean(self) -> float:
        """Radians from the vertical, to the right."""
        return math.atan2(-self.down[0], self.down[1])

    def ray(self, angle: float, reach: float) -> Point:
        """Give the point that is `reach` stem lengths from the top, `angle` radians from the stem to the left."""
        across = np.array([-self.down[1], self.down[0]])
        return self.top + reach * self.length * (math.cos(angle) * self.down + math.sin(angle) * across)


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
    reach, pen, bend = (random.uniform(*limits) for limits in (LENGTHS, WIDTHS, (-BEND, BEND)))
    upright = np.interp(reach, list(FLATTEST), list(FLATTEST.values()))
    flattest = math.atan(math.tan(upright) + math.tan(stem.lean)) - stem.lean  # a hand that leans shears all strokes
    if flattest < STEEPEST or stem.breadth > BROADEST * stem.length or stem.width > FATTEST * stem.length:
        return image
    angle = random.uniform(STEEPEST, flattest)
    middle, end = stem.ray(angle + max(bend, 0), reach / 2), stem.ray(angle, reach)
    return _centred(np.maximum(image, _drawn(_curve(stem.top, middle, end), pen * stem.width, image.shape)))


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


def _curve(start: Point, middle: Point, end: Point) -> list[Point]:
    """Give nine points of a quadratic Bézier curve."""
    return [(1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t * t * end for t in np.linspace(0, 1, 9)]


def _drawn(points: list[Point], width: float, shape: tuple[int, ...]) -> Array:
    """Give a line through some points, with round ends, uint8."""
    canvas = Image.new("L", (shape[1] * FINE, shape[0] * FINE))
    draw, radius = ImageDraw.Draw(canvas), width * FINE / 2
    line = [tuple((point + 0.5) * FINE) for point in points]
    draw.line(line, fill=255, width=max(round(2 * radius), 1))
    for x, y in line:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return np.asarray(canvas.filter(ImageFilter.BoxBlur(SOFT * FINE)).reduce(FINE))


def _centred(image: Array) -> Array:
    """Move a digit by whole pixels until its centre of mass is in the middle, as MNIST's are."""
    lines = image.sum(1), image.sum(0)
    down, across = (round((len(line) - 1) / 2 - line @ np.arange(len(line)) / line.sum()) for line in lines)
    return np.roll(image, (down, across), (0, 1))
