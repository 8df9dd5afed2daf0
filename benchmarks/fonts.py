"""Accuracy on the digits of handwriting fonts, which are of other hands than MNIST's, read by a running server.

    npm install @fontsource/caveat @fontsource/indie-flower ...
    python -m benchmarks.fonts node_modules/@fontsource/*/files/*-latin-400-normal.woff2

Each font's ten digits are drawn in ten ways, those of CHANGES. Prints a row for each way and a column for each digit
with what was read wrongly, and as its last line one JSON object.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageFont

from benchmarks import machine
from client import Client, InvalidImage, to_mnist
from client.contract import DEFAULT_SERVER, MODEL

SIDE, SIZE = 320, 160
"""Pixels of a picture's side, and of the fonts' em in it."""
PAPER, INK = 255, 20


def bent(a: float, b: float, d: float, e: float) -> Callable[[Image.Image], Image.Image]:
    """Give a linear change about the picture's middle: each pixel shows the one at (a x + b y, d x + e y)."""
    middle = SIDE / 2
    matrix = (a, b, middle * (1 - a - b), d, e, middle * (1 - d - e))
    return lambda image: image.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=PAPER
    )


def turned(degrees: float) -> Callable[[Image.Image], Image.Image]:
    """Give a turn to the left."""
    return lambda image: image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=PAPER)


Changes = dict[str, Callable[[Image.Image], Image.Image]]

CHANGES: Changes = {
    "as it is": lambda image: image,
    "12° to the left": turned(12),
    "12° to the right": turned(-12),
    "slanted to the left": bent(1, -0.3, 0, 1),
    "slanted to the right": bent(1, 0.3, 0, 1),
    "1.4 times as wide": bent(1 / 1.4, 0, 0, 1),
    "0.65 times as wide": bent(1 / 0.65, 0, 0, 1),
    "8 px bolder": lambda image: image.filter(ImageFilter.MinFilter(9)),
    "2 px thinner": lambda image: image.filter(ImageFilter.MaxFilter(3)),
    "32 px": lambda image: image.resize((32, 32), Image.Resampling.BOX),
}


def written(digit: int, font: ImageFont.FreeTypeFont) -> Image.Image:
    """Draw a digit in the middle of a picture."""
    image = Image.new("L", (SIDE, SIDE), PAPER)
    pen = ImageDraw.Draw(image)
    left, top, right, bottom = pen.textbbox((0, 0), str(digit), font=font)
    pen.text(((SIDE - left - right) / 2, (SIDE - top - bottom) / 2), str(digit), fill=INK, font=font)
    return image


Pictures = list[tuple[int, Image.Image]]
"""Each with the digit that it shows."""


def misread(client: Client, pictures: Pictures) -> list[int]:
    """Give for each digit how many pictures of it are read wrongly or refused."""
    wrong: Counter[int] = Counter()
    labels, images = [], []
    for digit, picture in pictures:
        try:
            images.append(to_mnist(picture))
            labels.append(digit)
        except InvalidImage:
            wrong[digit] += 1
    wrong.update(digit for digit, one in zip(labels, client.classify(images), strict=True) if one.digit != digit)
    return [wrong[digit] for digit in range(10)]


def tell(name: str, pictures: Pictures, changes: Changes, server: str, model: str, **more: int) -> None:
    """Print a row for each way in which the pictures are changed, and last one JSON object."""
    print(f"{'wrong of ' + str(len(pictures)):22}", *(f"{digit:4}" for digit in range(10)), " all")
    forms = {}
    with Client(server, model=model, timeout=60) as client:
        for change, make in changes.items():
            forms[change] = misread(client, [(digit, make(picture)) for digit, picture in pictures])
            print(f"{change:22}", *(f"{count:4}" for count in [*forms[change], sum(forms[change])]), flush=True)
        version = client.classify([to_mnist(pictures[0][1])])[0].model_version
    counts = {"images": len(forms) * len(pictures), "wrong": sum(map(sum, forms.values()))}
    print(json.dumps(machine.document(name, **more, **counts, forms=forms, model=model, model_version=version)))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("fonts", nargs="+", type=Path)
    options.add_argument("--server", default=DEFAULT_SERVER)
    options.add_argument("--model", default=MODEL)
    given = options.parse_args()
    pictures = [(digit, written(digit, ImageFont.truetype(path, SIZE))) for path in given.fonts for digit in range(10)]
    tell("fonts", pictures, CHANGES, given.server, given.model, fonts=len(given.fonts))


if __name__ == "__main__":
    main()
