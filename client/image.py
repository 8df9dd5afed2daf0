"""Any image file to its brightness: a small, upright, grey picture. What is on the paper is of no interest here.

Each function mends one way in which people's files differ. Pillow decodes; nothing is trusted before it is measured.
"""

import io
import os
import stat
import warnings
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from client.errors import InvalidImage

Grey = NDArray[np.float32]
"""[height, width], from 0 to 1."""

MAX_PIXELS = 64_000_000
"""A phone's largest photos have 50 million pixels; past this a file is a decompression bomb or a mistake."""
WORKING_SIZE = 320
"""Pixels of the longer side while cleaning: enough for a digit of a tenth of a photo."""
WHOLE = 1 << 16
"""Bytes read at once: more than any small image has, and a larger buffer costs 20 µs a file."""
MAX_PIPED = 64 << 20
PNG = b"\x89PNG\r\n\x1a\n"
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation → what turns it back."""

warnings.filterwarnings("ignore", module=r"PIL\.")  # about odd metadata; set once, as threads share the filters


def decode(source: str | os.PathLike[str] | bytes) -> tuple[Image.Image, int]:
    """Mends damaged files: Pillow's decoders meet them with almost any exception, this with InvalidImage.

    Gives the image as `reduce` leaves it, and how many frames there were: of an animation the first is read.
    """
    try:
        with _opened(source) as image:
            return reduce(image), getattr(image, "n_frames", 1)
    except InvalidImage:
        raise
    except MemoryError as error:
        raise InvalidImage("needs more memory than there is") from error
    except UnidentifiedImageError as error:
        raise InvalidImage("not an image that Pillow can read") from error
    except IsADirectoryError as error:
        raise InvalidImage("a folder without images") from error
    except Exception as error:
        raise InvalidImage(getattr(error, "strerror", None) or f"a damaged image ({error})") from error


def _opened(source: str | os.PathLike[str] | bytes) -> AbstractContextManager[Image.Image]:
    """Open small files from memory and PNG without asking every plugin, which halves the cost of small files."""
    data = source if isinstance(source, bytes) else _small(Path(source))
    if data is None:
        return Image.open(source)
    stream = io.BytesIO(data)
    return PngImagePlugin.PngImageFile(stream) if data.startswith(PNG) else Image.open(stream)


def _small(path: Path) -> bytes | None:
    """Give the bytes of a small file, or of a pipe, which can be read only once; None for a large file."""
    with path.open("rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return read_pipe(io.BufferedReader(file))
        start = file.read(WHOLE)
        return start if len(start) < WHOLE else None


def read_pipe(pipe: BinaryIO) -> bytes:
    """Read what somebody writes. Raises InvalidImage when it does not end, as /dev/zero does not."""
    data = pipe.read(MAX_PIPED + 1)
    if len(data) > MAX_PIPED:
        raise InvalidImage(f"more than {MAX_PIPED >> 20} MiB through a pipe")
    return data


def reduce(image: Image.Image) -> Image.Image:
    """Mends size and direction: gives mode F, L, RGB or RGBA, upright, the longer side at most WORKING_SIZE.

    Raises InvalidImage for a decompression bomb, before its pixels are read.
    """
    if image.width * image.height > MAX_PIXELS:
        raise InvalidImage(f"{image.width}x{image.height} pixels, more than {MAX_PIXELS // 10**6} million")
    image.draft(None, (2 * WORKING_SIZE, 2 * WORKING_SIZE))  # a JPEG decoder shrinks for free
    small = shrink(image)
    turn = TURNS.get(image.getexif().get(ORIENTATION, 1)) if image.info else None  # after loading, which turns TIFF
    return small.transpose(turn) if turn is not None else small


def shrink(image: Image.Image) -> Image.Image:
    """Mends size: brings any mode to F, L, RGB or RGBA and its longer side down to WORKING_SIZE."""
    if image.mode.startswith(("I", "F")):
        image = stretch_deep(image)
    elif image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    scale = WORKING_SIZE / max(image.size)
    return image.copy() if scale >= 1 else resize(image, scale, Image.Resampling.BOX)


def resize(image: Image.Image, scale: float, resample: Image.Resampling) -> Image.Image:
    """Scale an image; no side gets shorter than a pixel."""
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), resample)


def stretch_deep(image: Image.Image) -> Image.Image:
    """Mends 16-bit, 32-bit and float images, which have no agreed white and would be cut off at 255."""
    values = np.nan_to_num(np.asarray(image, np.float32))
    values -= values.min()
    return Image.fromarray(values * (255 / max(values.max(), 1e-30)))


def to_grey(image: Image.Image, faintest: float) -> Grey:
    """Mends transparency: ink drawn on nothing is on white paper, or on black if white paper would hide it."""
    if image.mode != "RGBA":
        return _brightness(image)
    papers = (Image.new("RGBA", image.size, colour) for colour in ("white", "black"))
    on_white, on_black = (_brightness(Image.alpha_composite(paper, image)) for paper in papers)
    return on_white if np.ptp(on_white) > faintest else on_black


def _brightness(image: Image.Image) -> Grey:
    return np.asarray(image if image.mode == "F" else image.convert("L"), np.float32) / np.float32(255)
