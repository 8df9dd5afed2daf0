"""Accuracy on MNIST's own test images in the forms in which people hand digits in, against the arrays themselves.

    python -m benchmarks.renderings [--server HOST:PORT] [--model digits] [--count 10000] [--only FORM]

Each image is written as a file of the form, read back by the client, and classified by a running server. Prints what
each form loses, in points, and as its last line one JSON object. The server should hold a fully trained model.
"""

import argparse
import io
import json
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from benchmarks import machine
from client import Client, InvalidImage
from client.contract import DEFAULT_SERVER, MODEL
from client.prepare import prepare

Digit = NDArray[np.uint8]
Random = np.random.Generator


def ink(digit: Digit, size: int) -> Image.Image:
    """Ink of a digit `size` pixels wide, smooth as a pen's: a mask from 0 to 255."""
    return Image.fromarray(digit).resize((size, size), Image.Resampling.BICUBIC)


def png(image: Image.Image) -> bytes:
    """The bytes of a PNG file."""
    stream = io.BytesIO()
    image.save(stream, "png", compress_level=1)
    return stream.getvalue()


def jpeg(image: Image.Image, quality: int) -> bytes:
    """The bytes of a JPEG file."""
    stream = io.BytesIO()
    image.save(stream, "jpeg", quality=quality)
    return stream.getvalue()


def dark_on_white(digit: Digit) -> Image.Image:
    """A scan: black on white, 200 pixels."""
    return Image.fromarray(255 - np.asarray(ink(digit, 200)))


def written(digit: Digit, sheet: Image.Image, rng: Random, size: int = 200, colour: object = (40, 40, 60)) -> None:
    """Write a digit somewhere near the middle of a sheet."""
    left, top = ((side - size) // 2 + int(rng.integers(-20, 21)) for side in sheet.size)
    sheet.paste(colour, (left, top), ink(digit, size))  # type: ignore[arg-type]


def photo(digit: Digit, rng: Random) -> Image.Image:
    """A phone's picture of white paper: warm light that falls off, tilted, not quite sharp, noisy."""
    sheet = Image.new("RGB", (640, 640), (235, 228, 214))
    written(digit, sheet, rng, 260)
    corners = (np.array([0, 0, 0, 640, 640, 640, 640, 0]) + rng.integers(-40, 41, 8)).tolist()
    sheet = sheet.transform(
        sheet.size, Image.Transform.QUAD, corners, Image.Resampling.BICUBIC, fillcolor=(235, 228, 214)
    )
    return exposed(sheet, rng)


def exposed(sheet: Image.Image, rng: Random) -> Image.Image:
    """What a camera makes of a sheet: a shadow, blur and noise."""
    pixels = np.asarray(sheet.filter(ImageFilter.GaussianBlur(1.2)), np.float32)
    height, width = pixels.shape[:2]
    across, down = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    angle = rng.uniform(0, 2 * np.pi)
    light = 0.75 + 0.22 * (np.cos(angle) * across + np.sin(angle) * down)
    noise = rng.normal(0, 4, pixels.shape)
    return Image.fromarray((pixels * light[..., None] + noise).clip(0, 255).astype(np.uint8))


def half_in_shadow(digit: Digit, rng: Random) -> Image.Image:
    """A photo into which a hand or the phone throws its shadow, whose edge runs somewhere through the middle."""
    pixels = np.asarray(photo(digit, rng), np.float32)
    across, down = np.meshgrid(*(np.linspace(-1, 1, side) for side in pixels.shape[1::-1]))
    angle, offset, blur = rng.uniform(0, 2 * np.pi), rng.uniform(-0.3, 0.3), rng.uniform(0.01, 0.1)
    depth = (np.cos(angle) * across + np.sin(angle) * down - offset) / blur
    return Image.fromarray((pixels * (0.8 - 0.2 * np.tanh(depth))[..., None]).astype(np.uint8))


def ruled(digit: Digit, rng: Random) -> Image.Image:
    """Lined paper, a little askew: blue lines, of which one or two run through the digit."""
    sheet = Image.new("RGB", (480, 400), (244, 242, 236))
    pen = ImageDraw.Draw(sheet)
    spacing, slope = int(rng.integers(60, 130)), rng.uniform(-12, 12)
    for y in range(int(rng.integers(spacing)), 440, spacing):
        pen.line((0, y - slope, 480, y + slope), fill=(120, 140, 190), width=int(rng.integers(2, 5)))
    written(digit, sheet, rng)
    return exposed(sheet, rng)


def squared(digit: Digit, rng: Random) -> Image.Image:
    """Graph paper."""
    sheet = Image.new("RGB", (440, 440), (246, 246, 246))
    pen = ImageDraw.Draw(sheet)
    spacing = int(rng.integers(50, 90))
    for at in range(int(rng.integers(spacing)), 440, spacing):
        pen.line((0, at, 440, at), fill=(150, 160, 190), width=2)
        pen.line((at, 0, at, 440), fill=(150, 160, 190), width=2)
    written(digit, sheet, rng)
    return sheet


def cell(digit: Digit, rng: Random, overlap: int = 0) -> Image.Image:
    """A form's cell, printed black, whose frame the digit touches when it overlaps."""
    sheet = Image.new("L", (280, 300), 250)
    frame = 24, 28, 256, 272
    ImageDraw.Draw(sheet).rectangle(frame, outline=60, width=4)
    size = 260 if overlap else 190
    left, top = ((side - size) // 2 + int(rng.integers(-overlap, overlap + 1)) for side in sheet.size)
    sheet.paste(30, (left, top), ink(digit, size))
    return sheet


def row_of_cells(digit: Digit, rng: Random) -> Image.Image:
    """A cell cut out of a row of them: the lines run from edge to edge, and the neighbours' begin."""
    sheet = Image.new("L", (360, 260), 245)
    pen = ImageDraw.Draw(sheet)
    for y in (20, 236):
        pen.line((0, y, 360, y), fill=90, width=3)
    for x in (70, 290):
        pen.line((x, 20, x, 236), fill=90, width=3)
    sheet.paste(40, (80 + int(rng.integers(-8, 9)), 28 + int(rng.integers(-8, 9))), ink(digit, 200))
    return sheet


FORMS: dict[str, Callable[[Digit, Random], bytes]] = {
    "28 px PNG": lambda digit, rng: png(Image.fromarray(digit)),
    "200 px, dark on white": lambda digit, rng: png(dark_on_white(digit)),
    "JPEG, quality 60": lambda digit, rng: jpeg(dark_on_white(digit), 60),
    "photo": lambda digit, rng: jpeg(photo(digit, rng), 85),
    "photo, half in shadow": lambda digit, rng: jpeg(half_in_shadow(digit, rng), 85),
    "ruled paper": lambda digit, rng: jpeg(ruled(digit, rng), 85),
    "graph paper": lambda digit, rng: png(squared(digit, rng)),
    "form cell": lambda digit, rng: png(cell(digit, rng)),
    "form cell, touched": lambda digit, rng: png(cell(digit, rng, 12)),
    "row of cells": lambda digit, rng: png(row_of_cells(digit, rng)),
}


def render(form: str, digits: NDArray[np.uint8]) -> list[bytes]:
    """Write digits in a form; the same each time."""
    rng = np.random.default_rng(0)
    return [FORMS[form](digit, rng) for digit in digits]


def read(files: list[bytes]) -> tuple[NDArray[np.uint8], float]:
    """Prepare files as the client does, and tell the milliseconds that one takes; what is refused becomes blank."""
    images = np.zeros((len(files), 28, 28), np.uint8)
    started = time.perf_counter()
    for number, file in enumerate(files):
        try:
            images[number] = prepare(file).pixels
        except InvalidImage:
            continue
    return images, 1000 * (time.perf_counter() - started) / len(files)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--server", default=DEFAULT_SERVER)
    options.add_argument("--model", default=MODEL)
    options.add_argument("--count", type=int, default=10_000, help="the last so many test images")
    options.add_argument("--only", choices=FORMS)
    given = options.parse_args()
    from training.data import load

    mnist = load()
    digits = np.concatenate([mnist.x_val, mnist.x_test])[-given.count :]
    labels = np.concatenate([mnist.y_val, mnist.y_test])[-given.count :]
    with Client(given.server, model=given.model, timeout=60) as client:
        predictions = client.classify(digits)
        accuracy = float(np.mean([one.digit for one in predictions] == labels))
        print(f"{'form':22} accuracy   loses    ms/image\n{'arrays':22} {accuracy:8.2%}")
        forms = {}
        for form in [given.only] if given.only else FORMS:
            images, milliseconds = read(render(form, digits))
            reached = float(np.mean([one.digit for one in client.classify(images)] == labels))
            forms[form] = {"accuracy": round(reached, 5), "milliseconds": round(milliseconds, 2)}
            print(f"{form:22} {reached:8.2%} {100 * (accuracy - reached):7.2f} {milliseconds:11.2f}", flush=True)
    figures = {"images": len(digits), "arrays": accuracy, "forms": forms}
    served = {"model": given.model, "model_version": predictions[-1].model_version}
    print(json.dumps(machine.document("renderings", **figures, **served)))


if __name__ == "__main__":
    main()
