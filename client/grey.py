"""A picture to its brightness, on the paper that it should have behind it, also where only its colour tells the ink.

Each function mends one way in which people's files differ.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Grey = NDArray[np.float32]
"""[height, width], from 0 to 1."""

PAGE_CONTRAST = 0.2
"""What is opaque and differs so much in itself is a page with ink on it, not ink alone."""
BRIGHT_INK = 0.75
"""Mean brightness of ink that white paper would hide."""
DULL = 0.15
"""Range of brightness below which colours may tell more."""


def to_grey(image: Image.Image) -> Grey:
    """Mends colour and transparency: gives how bright the picture is on the paper that it should have behind it."""
    if image.mode != "RGBA":
        return _brightness(image)
    alpha = np.asarray(image.getchannel("A"), np.float32) / np.float32(255)
    pixels = _brightness(image.convert("RGB"))
    paper = np.float32(_paper_behind(pixels, alpha)) if alpha.any() else np.float32(1)
    return alpha * pixels + (1 - alpha) * paper


def _paper_behind(pixels: Grey, alpha: Grey) -> float:
    """Mends transparency: a page that was cut out goes on as it is; ink on nothing is on white, bright ink on black.

    What is bright is told by all that is there: white ink has a dark fringe where it was made smaller.
    """
    opaque = pixels[alpha > 0.5]
    if len(opaque) > 0.5 * alpha.size and np.ptp(np.percentile(opaque, (0.5, 99.5))) > PAGE_CONTRAST:
        return float(np.median(opaque))
    return 0.0 if float((pixels * alpha).sum() / alpha.sum()) > BRIGHT_INK else 1.0


def _brightness(image: Image.Image) -> Grey:
    grey = np.asarray(image if image.mode == "F" else image.convert("L"), np.float32) / np.float32(255)
    return _hue(image, grey) if image.mode == "RGB" and _range(grey[::4, ::4]) < DULL else grey


def _hue(image: Image.Image, grey: Grey) -> Grey:
    """Mends ink that is as bright as its paper: gives the mix of channels that varies most, if it tells far more."""
    pixels = np.asarray(image, np.float32).reshape(-1, 3) / np.float32(255)
    pixels -= pixels.mean(0)
    axis = np.linalg.eigh(pixels.T @ pixels)[1][:, -1]
    mix: Grey = (pixels @ (axis if axis.sum() >= 0 else -axis)).reshape(grey.shape)
    if _range(mix) < max(DULL, 2 * _range(grey)):
        return grey
    low, high = np.percentile(mix, (0.1, 99.9))
    return np.asarray(((mix - low) / (high - low)).clip(0, 1), np.float32)


def _range(values: Grey) -> float:
    return float(np.ptp(np.percentile(values, (0.1, 99.9))))
