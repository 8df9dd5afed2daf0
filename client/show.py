"""What the network sees beside what a person sees, as a PNG: tells why an answer is wrong."""

import os
from pathlib import Path

from PIL import Image, ImageOps

from client.console import note
from client.digit import Prepared
from client.errors import InvalidImage
from client.prepare import Picture, attempt, decoded

SIDE = 280
"""Pixels of each of the two: ten for each of the network's."""


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
    path = _place(file, folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        canvas.save(path)
    except OSError as error:
        note(f"note: {file} is not shown: {error.strerror}")


def _place(file: str, folder: Path) -> Path:
    """Give each file a place of its own under a folder, also one that is above the working directory."""
    inside = Path(os.path.abspath(file) if ".." in Path(file).parts else file)  # noqa: PTH100 (Path's leaves .. in)
    return folder / f"{inside.relative_to(inside.anchor)}.png"


def _on_white(image: Image.Image) -> Image.Image:
    """Bring a picture to the size of its place, as somebody sees it on white."""
    flat = image.convert("L") if image.mode == "F" else image
    fitted = Image.alpha_composite(Image.new("RGBA", flat.size, "white"), flat.convert("RGBA")).convert("RGB")
    return ImageOps.contain(fitted, (SIDE, SIDE))
