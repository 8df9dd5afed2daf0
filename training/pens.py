"""Digits as other pens write them and few pixels show them: MNIST's pens are much alike, and so are its scans.

What is redrawn is brought into MNIST's form by the client, as people's files are.
"""

import numpy as np
from PIL import Image, ImageFilter

from client.digit import enlarge
from client.image import resize
from client.mnist import normal
from client.paper import as_grey
from client.strokes import stroke_width
from training.data import Array

OFTEN = 0.6
"""Share of what is redrawn that gets another pen, and share that is made small."""
BROADER = -1.0, 1.6
"""Pixels by which another pen's strokes are broader, where MNIST's have 1.5 to 4; ..."""
THINNEST = 1.6
"""... but no stroke becomes thinner than this, or it would fall to pieces."""
LENGTHS = 8.0, 18.0
"""Pixels of the longer side of what is made small, where MNIST's have 20."""
FINE = 6
"""A pen is changed in so many times as many pixels a side."""
INK = 0.4
"""How dark ink is at least, of the darkest."""

Random = np.random.Generator


def with_other_pens(images: Array, share: float, seed: int) -> Array:
    """Give the images, uint8 [n, 28, 28], a share of them redrawn; the same for the same seed."""
    random = np.random.default_rng([seed, len(images)])  # not the numbers with which upstrokes are drawn
    result = images.copy()
    for index in random.permutation(len(images))[: round(share * len(images))]:
        result[index] = redraw(images[index], random)
    return result


def redraw(image: Array, random: Random) -> Array:
    """Give a digit by another pen, of fewer pixels, or both, in MNIST's form."""
    picture = Image.fromarray(image)
    picture = picture.crop(picture.getbbox())
    if random.random() < OFTEN:
        width = stroke_width(image > 127)
        picture = _broader(picture, max(random.uniform(*BROADER), min(THINNEST - width, 0)))
    if random.random() < OFTEN:
        picture = resize(picture, random.uniform(*LENGTHS) / max(picture.size), Image.Resampling.BOX)
    ink = enlarge(np.pad(as_grey(picture), 2))
    return normal(ink, ink > INK * ink.max())


def _broader(picture: Image.Image, pixels: float) -> Image.Image:
    """Widen all strokes of a light digit by so many pixels."""
    reach = round(pixels * FINE / 2)
    fine = Image.new("L", ((picture.width + 4) * FINE, (picture.height + 4) * FINE))
    size = picture.width * FINE, picture.height * FINE
    fine.paste(picture.resize(size, Image.Resampling.BICUBIC), (2 * FINE, 2 * FINE))
    if reach:
        fine = fine.filter((ImageFilter.MaxFilter if reach > 0 else ImageFilter.MinFilter)(2 * abs(reach) + 1))
    return fine.crop(fine.getbbox())
