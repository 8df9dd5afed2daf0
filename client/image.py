"""Any image file to a small, upright picture. What is on the paper is of no interest here.

Each function mends one way in which people's files differ. Pillow decodes; nothing is trusted before it is measured.
"""

import io
import os
import stat
import warnings
from contextlib import AbstractContextManager
from typing import BinaryIO, NamedTuple, TypeAlias

import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from client.errors import InvalidImage

Source: TypeAlias = str | os.PathLike[str] | bytes | Image.Image
"""A file, the bytes of one, or a Pillow image."""

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


class Guard(NamedTuple):
    """What is read at all: images of so many pixels, and of these formats by Pillow's names; None is all of them."""

    max_pixels: int = MAX_PIXELS
    formats: tuple[str, ...] | None = None


OWN_FILES = Guard()
"""Whoever names a file on this machine may read any."""


class Decoded(NamedTuple):
    """A small upright image, how many frames the file has, and how many pixels its longer side."""

    image: Image.Image
    frames: int
    length: int

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the file."""
        return (f"first of {self.frames} frames",) if self.frames > 1 else ()


def decode(source: Source, size: int = WORKING_SIZE, guard: Guard = OWN_FILES) -> Decoded:
    """Mends damaged files: Pillow's decoders meet them with almost any exception, this with InvalidImage.

    Gives the image as `reduce` leaves it. Of an animation the first frame is read. An image that the caller has opened
    stays as it is.
    """
    try:
        if isinstance(source, Image.Image):
            return reduce(source, size, guard.max_pixels)
        with _opened(source, guard.formats) as image:
            return reduce(image, size, guard.max_pixels, draft=True)
    except InvalidImage:
        raise
    except MemoryError as error:
        raise InvalidImage("needs more memory than there is") from error
    except Image.DecompressionBombError as error:
        raise InvalidImage(f"more than {guard.max_pixels // 10**6} million pixels") from error
    except UnidentifiedImageError as error:
        known = f"a {' or '.join(guard.formats)} file" if guard.formats else "an image that Pillow can read"
        raise InvalidImage(f"not {known}") from error
    except IsADirectoryError as error:
        raise InvalidImage("a folder, not an image") from error
    except Exception as error:
        if "locate Ghostscript" in str(error):
            raise InvalidImage("EPS, which needs Ghostscript. Install it, or save the image as PNG") from error
        raise InvalidImage(getattr(error, "strerror", None) or f"a damaged image ({error})") from error


def _opened(
    source: str | os.PathLike[str] | bytes, formats: tuple[str, ...] | None
) -> AbstractContextManager[Image.Image]:
    """Open small files from memory and PNG without asking every plugin, which halves the cost of small files."""
    data = source if isinstance(source, bytes) else _small(source)
    if data is None:
        return Image.open(source, formats=formats)
    stream = io.BytesIO(data)
    return PngImagePlugin.PngImageFile(stream) if data.startswith(PNG) else Image.open(stream, formats=formats)


def _small(path: str | os.PathLike[str]) -> bytes | None:
    """Give the bytes of a small file, or of a pipe, which can be read only once; None for a large file."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 (a Path costs a tenth of what a small file does)
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


def reduce(image: Image.Image, size: int, max_pixels: int, *, draft: bool = False) -> Decoded:
    """Mends size and direction: gives mode F, L, RGB or RGBA, upright, the longer side at most `size`.

    With `draft` a JPEG decoder shrinks for free, and the image itself stays so small. Raises InvalidImage for a
    decompression bomb, before its pixels are read.
    """
    if not image.width * image.height:
        raise InvalidImage("no pixels")
    if image.width * image.height > max_pixels:
        raise InvalidImage(f"{image.width}x{image.height} pixels, more than {max_pixels // 10**6} million")
    length = max(image.size)
    if draft:
        image.draft(None, (2 * size, 2 * size))
    small = shrink(image, size)
    orientation = image.getexif().get(ORIENTATION, 1) if image.info else 1  # after loading, which turns TIFF
    if orientation in TURNS:
        small = small.transpose(TURNS[orientation])
    chosen = image.format == "MPO" or image.tell() > 0  # a phone's photo carries its own preview
    frames = 1 if chosen else getattr(image, "n_frames", 1)
    return Decoded(small, frames, length)


def shrink(image: Image.Image, size: int) -> Image.Image:
    """Mends size: brings any mode to F, L, RGB or RGBA and its longer side down to `size`."""
    image.load()
    given = image
    deep = image.mode.startswith(("I", "F"))
    if deep:
        image = image.convert("F")
    elif image.has_transparency_data:
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")  # Pillow's only way from La
    elif image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    scale = size / max(image.size)
    if scale < 1:
        small = resize(image, scale, Image.Resampling.BOX)
    else:  # other files are read on, to count their frames, or are mapped
        small = image.copy() if image is given and image.format != "PNG" else image
    return stretch_deep(small) if deep else small


def resize(image: Image.Image, scale: float, resample: Image.Resampling) -> Image.Image:
    """Scale an image; no side gets shorter than a pixel."""
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), resample)


def stretch_deep(image: Image.Image) -> Image.Image:
    """Mends 16-bit, 32-bit and float images, which have no agreed white and would be cut off at 255."""
    values = np.nan_to_num(np.asarray(image, np.float32))
    values -= values.min()
    return Image.fromarray(values * (255 / max(values.max(), 1e-30)))
