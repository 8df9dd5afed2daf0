"""A picture of any kind to what the network takes."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from PIL import Image

from client import contract
from client.digit import Prepared, find_digit
from client.errors import InvalidImage, NoDigit
from client.faint import to_grey
from client.grey import Grey
from client.image import OWN_FILES, WORKING_SIZE, Decoded, Guard, Source, decode
from client.mnist import Pixels, as_mnist
from client.page import Box
from client.squares import native

CLOSER = 4
"""A tiny digit is looked at again in at most so many times as many pixels a side."""
TINY = 0.2
"""Length of a tiny digit, of the picture's longer side."""

Picture: TypeAlias = Source | Pixels | InvalidImage
"""A file, the bytes of one, a Pillow image, a uint8 array [28, 28] that is used as it is, or why there is none."""

Outcome: TypeAlias = Prepared | InvalidImage


def read_image(path: str | os.PathLike[str]) -> Pixels:
    """Read a file as the network wants it. Raises InvalidImage with the path and what is wrong with it."""
    return prepare(path).pixels


def to_mnist(image: Image.Image) -> Pixels:
    """Turn an image of one digit into uint8 [28, 28] as MNIST has it. Raises NoDigit when there is no ink."""
    return prepare(image).pixels


def prepare(picture: Picture, guard: Guard = OWN_FILES) -> Prepared:
    """Prepare one picture, a file of what `guard` lets through. Raises InvalidImage, of which NoDigit is a kind."""
    if isinstance(picture, np.ndarray):
        return _as_given(picture)
    with path_told(picture):
        whole = decoded(picture, guard=guard)
        if whole.length < 1.5 * WORKING_SIZE:
            return _prepare(whole)
        return _prepare_large(whole, lambda: decoded(picture, CLOSER * WORKING_SIZE, guard))


def decoded(picture: Picture, size: int = WORKING_SIZE, guard: Guard = OWN_FILES) -> Decoded:
    """Give a picture of any kind small and upright. Raises InvalidImage, and TypeError for what is no picture."""
    if isinstance(picture, np.ndarray):
        picture = _from_array(picture)
    if isinstance(picture, InvalidImage):
        raise picture
    if not isinstance(picture, str | bytes | os.PathLike | Image.Image):  # a number would be an open file's
        raise TypeError(f"a picture is a path, bytes, a Pillow image or an array, not {type(picture).__name__}")
    return decode(picture, size, guard)


@contextmanager
def path_told(picture: Picture) -> Iterator[None]:
    """Put the path of a file in front of what is wrong with it."""
    try:
        yield
    except InvalidImage as error:
        if isinstance(picture, str | os.PathLike):
            raise about(picture, error) from error.__cause__
        raise


def about(path: str | os.PathLike[str], error: InvalidImage) -> InvalidImage:
    """Put a path, as it was given, in front of what is wrong with the file."""
    return type(error)(f"{os.fspath(path) or repr('')}: {error}")


def _from_array(array: Pixels) -> Image.Image:
    try:
        return Image.fromarray(array)
    except (TypeError, IndexError, ValueError) as error:
        form = f"{array.dtype} {list(array.shape)}"
        raise InvalidImage(f"an array of {form}. Give uint8 [height, width] or [height, width, 3]") from error


def _as_given(array: Pixels) -> Prepared:
    if array.dtype != np.uint8 or array.shape != (contract.IMAGE_SIZE, contract.IMAGE_SIZE):
        raise InvalidImage(f"an array of {array.dtype} {list(array.shape)}. Give uint8 [28, 28], 255 = ink")
    return Prepared(array.copy())  # a camera may write its next frame into it before this one is sent


def _prepare(decoded: Decoded) -> Prepared:
    small = as_mnist(decoded.image)
    found = _find(to_grey(decoded.image)) if small is None else Prepared(small)
    return replace(found, notes=(*found.notes, *decoded.notes)) if decoded.notes else found


def _find(grey: Grey) -> Prepared:
    small = native(grey)
    if small is None:
        return find_digit(grey)
    pixels = as_mnist(Image.fromarray(np.round(255 * small).astype(np.uint8)))
    return replace(find_digit(small), box=None, around=None) if pixels is None else Prepared(pixels)


def _prepare_large(whole: Decoded, larger: Callable[[], Decoded]) -> Prepared:
    """Mends tiny digits in large pictures: looks again at where the digit is, or may be, in more pixels."""
    try:
        found = _prepare(whole)
    except NoDigit:
        return _prepare(larger())
    if found.box is None or _length(found.box) >= TINY * WORKING_SIZE:
        return found
    closer = larger()
    part = _around(found, max(closer.image.size) / max(whole.image.size), closer.image)
    try:
        return replace(_prepare(closer._replace(image=part)), notes=found.notes)
    except NoDigit:
        return found


def _length(box: Box) -> float:
    left, top, right, bottom = box
    return max(right - left, bottom - top)


def _around(found: Prepared, scale: float, image: Image.Image) -> Image.Image:
    """Cut a square of three times a digit's length around it out of more pixels, as far as there is paper."""
    box = found.box or (0, 0, *image.size)
    across, down, reach = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, 1.5 * _length(box)
    left, top, right, bottom = found.around or (0, 0, image.width / scale, image.height / scale)
    left, top = max(left, across - reach), max(top, down - reach)
    right, bottom = min(right, across + reach), min(bottom, down + reach)
    return image.crop((round(left * scale), round(top * scale), round(right * scale), round(bottom * scale)))


def attempt(picture: Picture, guard: Guard = OWN_FILES) -> Outcome:
    """Prepare one picture; a bad one is an outcome too, so that it does not stop the others."""
    try:
        return prepare(picture, guard)
    except InvalidImage as error:
        return error
