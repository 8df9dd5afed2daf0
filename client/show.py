"""What the network sees beside what a person sees, as a PNG: tells why an answer is wrong."""

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, ImageOps

from client.console import note
from client.digit import Prepared
from client.errors import InvalidImage, UsageError
from client.prepare import Picture, attempt, decoded

SIDE = 280
"""Pixels of each of the two: ten for each of the network's."""


def check_apart(arguments: Iterable[str], folder: Path) -> None:
    """Raise UsageError where a run would read what one before wrote: in a folder, or below the ** of a pattern."""
    for argument in arguments:
        for read in (argument.partition("**")[0] or ".", *glob.glob(argument)):  # noqa: PTH207 (Path knows no absolute ones)
            check_outside(read, folder)


def check_outside(read: str, folder: Path) -> None:
    """Raise UsageError where what is read is a folder that a run would write into."""
    if os.path.isdir(read) and _place(read, folder).resolve().is_relative_to(Path(read).resolve()):  # noqa: PTH112
        raise UsageError(
            f"--show {folder} would write into {read}, which the next run reads. Name another DIR, outside of it"
        )


def show(file: str, picture: Picture, folder: Path) -> None:
    """Write DIR/FILE.png: the picture on the left, the network's 28×28 on the right, which is grey without a digit.

    What is no image is left out; what cannot be written is told on stderr.
    """
    try:
        left = _on_white(decoded(picture).image)
    except InvalidImage:
        return
    canvas = Image.new("RGB", (2 * SIDE + 10, SIDE), "grey")
    canvas.paste(left)
    outcome = attempt(picture)
    if isinstance(outcome, Prepared):
        canvas.paste(Image.fromarray(outcome.pixels).resize((SIDE, SIDE), Image.Resampling.NEAREST), (SIDE + 10, 0))
    path = Path(f"{_place(file, folder)}.png")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        canvas.save(path)
    except OSError as error:
        note(f"note: {file} is not shown: {error.strerror}")


def _place(file: str, folder: Path) -> Path:
    """Give each file a place of its own under a folder, also one that is above the working directory."""
    inside = Path(os.path.abspath(file) if ".." in Path(file).parts else file)  # noqa: PTH100 (Path's leaves .. in)
    return folder / inside.relative_to(inside.anchor)


def _on_white(image: Image.Image) -> Image.Image:
    """Bring a picture to the size of its place, as somebody sees it on white."""
    flat = image.convert("L") if image.mode == "F" else image
    fitted = Image.alpha_composite(Image.new("RGBA", flat.size, "white"), flat.convert("RGBA")).convert("RGB")
    return ImageOps.contain(fitted, (SIDE, SIDE))
