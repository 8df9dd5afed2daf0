"""A digit's ink as MNIST has it: uint8 [28, 28], 0 = paper, 255 = ink.

MNIST's own recipe is a 20×20 box with the ratio kept, centred by mass in 28×28 (yann.lecun.org/exdb/mnist).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from client.contract import IMAGE_SIZE
from client.grey import Grey
from client.image import resize
from client.paper import lightest
from client.regions import Mask, box_of
from client.strokes import stroke_width

Pixels = NDArray[np.uint8]
"""[28, 28], 0 = paper, 255 = ink."""
BOX = 20
"""Pixels of the longer side of a digit in MNIST."""
STROKE = 2.0
"""Pixels of a pen's stroke in that box."""
PALEST = 128
"""Ink of MNIST is darker; a mask of 0 and 1 is not, nor are UCI's 16 levels."""
_CORNERS = 0, IMAGE_SIZE - 1, -IMAGE_SIZE, -1
_Y, _X = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE].reshape(2, -1) + 0.5
_MOMENTS = np.stack([np.ones_like(_Y), _Y, _X])
"""float64 [3, 784]: times an image these are its mass, and its mass times the middle of it, down and to the right."""


def normal(ink: Grey, mask: Mask) -> Pixels:
    """Bring the ink under a mask into MNIST's form."""
    return centre(fit(thicken(crop(ink, mask))))


def as_mnist(image: Image.Image) -> Pixels | None:
    """Give the pixels of an image that already has MNIST's form, so that resampling loses nothing of it; else None.

    Of a small file this is a third of the work, hence few and large steps.
    """
    if image.mode != "L" or image.size != (IMAGE_SIZE, IMAGE_SIZE):
        return None
    pixels = image.tobytes()
    corners = {pixels[at] for at in _CORNERS}  # a digit may touch the border
    if corners == {255}:
        image = ImageChops.invert(image)
        pixels = image.tobytes()
    elif corners != {0}:
        return None
    left, top, right, bottom = image.getbbox() or (0, 0, 0, 0)
    if max(right - left, bottom - top) != BOX:
        return None
    ink = np.frombuffer(pixels, np.uint8)
    if ink.max() < PALEST:
        return None
    mass, *moments = _MOMENTS.dot(ink).tolist()
    return ink.reshape(image.size) if all(abs(moment / mass - IMAGE_SIZE / 2) <= 1 for moment in moments) else None


def _centre(line: NDArray[Any]) -> float:
    """Give the centre of mass of a line; that of its first pixel is 0.5."""
    return float(line @ np.arange(len(line)) / line.sum()) + 0.5


def crop(ink: Grey, mask: Mask) -> Grey:
    """Mends the distance: cuts out the digit with its soft edges, and nothing else."""
    box = box_of(mask)
    soft = np.asarray(Image.fromarray(mask[box]).convert("L").filter(ImageFilter.MaxFilter(3))) > 0
    return np.where(soft, ink[box], 0)


def thicken(ink: Grey) -> Grey:
    """Mends thin pens: a stroke under STROKE pixels in the box is widened, as making the digit smaller pales it."""
    wanted = STROKE * max(ink.shape) / BOX
    radius = round((wanted - stroke_width(ink > 0.5)) / 2)
    if radius < 1:
        return ink
    return lightest(np.pad(ink, 2 * radius), radius)


def fit(ink: Grey) -> Grey:
    """Mends size: the longer side becomes BOX pixels with the ratio kept, and the pen full black again."""
    scale = BOX / max(ink.shape)
    small = np.asarray(resize(Image.fromarray(ink), scale, Image.Resampling.BOX))
    return (small / max(float(np.percentile(small[small > 0.1], 90)), 0.1)).clip(0, 1)


def centre(ink: Grey) -> Pixels:
    """Mends position: the centre of mass comes to the middle of 28×28, as near as the digit's box can follow."""
    canvas = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    at = [
        min(max(round(IMAGE_SIZE / 2 - _centre(line)), 0), IMAGE_SIZE - len(line)) for line in (ink.sum(1), ink.sum(0))
    ]
    canvas[at[0] : at[0] + ink.shape[0], at[1] : at[1] + ink.shape[1]] = np.round(255 * ink)
    return canvas
