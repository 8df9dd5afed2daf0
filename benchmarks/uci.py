"""Accuracy on UCI's handwritten digits, which are of other hands than MNIST's, read by a running server.

    pip install scikit-learn
    python -m benchmarks.uci [--server HOST:PORT] [--model digits]

scikit-learn holds the test set: 1,797 digits of 13 people from Turkey, each of 8×8 pixels that it fills from edge to
edge (Alpaydin and Kaynak 1998). They are read as they are and as people show them, in the ways of CHANGES. Prints a row
for each way and a column for each digit with what was read wrongly, and as its last line one JSON object.
"""

import argparse
from functools import partial

import numpy as np
from PIL import Image, ImageOps
from PIL.Image import Resampling

from benchmarks.fonts import Changes, Pictures, tell
from client.contract import DEFAULT_SERVER, MODEL

FULL = 16
"""The value of a pixel that is all ink: as many as it was counted from."""


def enlarged(side: int, resample: Resampling, image: Image.Image) -> Image.Image:
    """Give the picture with so many pixels a side."""
    return image.resize((side, side), resample)


def on_a_page(image: Image.Image) -> Image.Image:
    """Give what a plot of it without axes is: squares on a white page, of which a margin is left that is none."""
    return ImageOps.expand(enlarged(240, Resampling.NEAREST, image), (50, 40), 255)


CHANGES: Changes = {
    "8 px, white on black": lambda image: image,
    "8 px, black on white": ImageOps.invert,
    "28 px, smooth": partial(enlarged, 28, Resampling.BICUBIC),
    "28 px, squares": partial(enlarged, 28, Resampling.NEAREST),
    "200 px, smooth": partial(enlarged, 200, Resampling.BICUBIC),
    "200 px, squares": partial(enlarged, 200, Resampling.NEAREST),
    "black, on a white page": on_a_page,
    "white, on a white page": lambda image: on_a_page(ImageOps.invert(image)),
    "32 px, one bit": lambda image: enlarged(32, Resampling.BICUBIC, image).convert("1", dither=Image.Dither.NONE),
}


def pictures() -> Pictures:
    """Read the digits from scikit-learn."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return [
        (int(digit), Image.fromarray(np.round(pixels * (255 / FULL)).astype(np.uint8)))
        for pixels, digit in zip(digits.images, digits.target, strict=True)
    ]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--server", default=DEFAULT_SERVER)
    options.add_argument("--model", default=MODEL)
    given = options.parse_args()
    tell("uci", pictures(), CHANGES, given.server, given.model)


if __name__ == "__main__":
    main()
