"""Which files are meant: names, folders, patterns, and lists of names, one after the other in natural order."""

import glob
import os
import re
import sys
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from client.errors import UsageError

STDIN = "-"
BLOCK = 1 << 16
UNREADABLE = {"PDF", "PALM", "MPEG", "BUFR", "GRIB", "HDF5", "WMF"}
"""Formats whose endings Pillow knows, but which it only writes, or opens without a decoder."""
MISSED = {".heic", ".heif", ".pdf", ".svg", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw"}
"""Endings of photos, drawings and documents whose owner may wonder why they are left out."""


def all_files(
    arguments: Iterable[str],
    files_from: str | None,
    look: Callable[[str], None] = lambda name: None,
    left_out: Counter[str] | None = None,
) -> Iterator[str]:
    """Give the files of the arguments, then those of a list; its names are no patterns, as it can hold any name.

    `look` is called with each name of the list before it is taken, and `left_out` filled as find_images says.
    """
    if files_from is None:
        yield from find_files(arguments, left_out)
        return
    with _opened(files_from) as names:
        yield from find_files(arguments, left_out)  # only now, so that a wrong name ends a run before it begins
        for name in read_names(names):
            look(name)
            yield from expand(name, left_out)


def _opened(files_from: str) -> BufferedReader:
    try:
        return open(stdin().fileno() if files_from == STDIN else files_from, "rb")  # noqa: PTH123 (or a number)
    except OSError as error:
        raise UsageError(f"--files-from {files_from}: {error.strerror}. Name a file, or - for stdin") from error


def stdin() -> BinaryIO:
    """Give stdin. Raises UsageError where it is closed (`<&-`)."""
    if sys.stdin is None:
        raise UsageError("stdin is closed: name a file, or pipe something to -")
    return sys.stdin.buffer


def find_files(arguments: Iterable[str], left_out: Counter[str] | None = None) -> Iterator[str]:
    """Give files as they are, of a folder its images, and of a pattern what it matches; "-" is left as it is.

    A folder without images, and a pattern without a match, is given itself, so that it is refused like a bad file.
    """
    for argument in arguments:
        given = argument == STDIN or os.path.exists(argument)  # noqa: PTH110 (Path's raises where one may not look)
        yield from ([] if given else _matches(argument, left_out)) or expand(argument, left_out)


def _matches(pattern: str, left_out: Counter[str] | None) -> list[str]:
    """Give what a pattern matches, each file once: ** matches a folder and what is in it, which leaves nothing out."""
    matches = _once(glob.glob(pattern, recursive=True))  # noqa: PTH207 (Path knows no absolute ones)
    missed = None if "**" in pattern else left_out
    return sorted(_once(chain.from_iterable(expand(match, missed) for match in matches)), key=natural)


def _once(paths: Iterable[str]) -> Iterable[str]:
    """Give each file by its shortest path: links in circles lead to it by many."""
    real, once = cache(os.path.realpath), dict[tuple[str, str], str]()
    for path in sorted(paths, key=lambda path: (len(path), path), reverse=True):
        folder, name = os.path.split(path.rstrip("/"))
        once[real(folder), name] = path
    return once.values()


def expand(path: str, left_out: Counter[str] | None = None) -> Iterator[str]:
    """Give a file as it is, and of a folder its images; a folder without any is given itself."""
    if path == STDIN or not os.path.isdir(path):  # noqa: PTH112 (as above)
        yield path
        return
    images = find_images(path, left_out)
    yield next(images, path)
    yield from images


def find_images(folder: str, left_out: Counter[str] | None = None) -> Iterator[str]:
    """Give the files in a folder and its folders that end like an image, in natural order; hidden ones are left out.

    Only the names of one folder at a time are in memory. A folder that cannot be read is given itself, to be refused.
    `left_out` counts, by their endings, the files that somebody may miss.
    """
    levels = [_listed(folder, left_out)]  # not calls, which nest less deeply than folders
    while levels:
        path, is_folder = next(levels[-1], ("", False))
        if not path:
            levels.pop()
        elif is_folder:
            levels.append(_listed(path, left_out))
        else:
            yield path


def _listed(folder: str, left_out: Counter[str] | None) -> Iterator[tuple[str, bool]]:
    """Give the images and the folders in a folder, and which of them it is; itself where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name + "/" * entry.is_dir(follow_symlinks=False) for entry in entries if _wanted(entry)]
    except OSError:
        yield folder, False
        return
    prefix = str(Path(folder, "name")).removesuffix("name")
    for name in sorted(names, key=natural):
        if name.endswith("/"):
            yield prefix + name[:-1], True
        elif is_image(name, left_out):
            yield prefix + name, False


def is_image(name: str, left_out: Counter[str] | None = None) -> bool:
    """Tell whether a file ends like an image that Pillow reads; where somebody may miss it, `left_out` counts it."""
    ending = os.path.splitext(name)[1].lower()  # noqa: PTH122 (a Path costs more than the rest)
    if ending in endings():
        return True
    if left_out is not None and ending in MISSED:
        left_out[ending] += 1
    return False


@cache
def endings() -> frozenset[str]:
    """Give how the names of images end: those of the formats that Pillow reads."""
    from PIL import Image

    return frozenset(end for end, form in Image.registered_extensions().items() if form not in UNREADABLE)


def _wanted(entry: "os.DirEntry[str]") -> bool:
    """Leave out hidden entries, and pipes, which would be waited for. A link that leads nowhere is refused later."""
    try:
        return entry.name[0] != "." and (entry.is_dir(follow_symlinks=False) or entry.is_file())
    except OSError:
        return True


def natural(name: str) -> str:
    """Sort key under which 2.png comes before 10.png."""
    return re.sub(r"\d+", lambda number: number[0].zfill(20), name)


def read_names(names: BufferedReader) -> Iterator[str]:
    """Give the names in a list: one a line, also of Windows, or with NUL behind each, as `find -print0` writes them.

    Raises UsageError for UTF-16, whose NUL are no ends of names.
    """
    rest, separator = b"", b""
    block = names.read(3).removeprefix(BOM_UTF8) or names.read1(BLOCK)
    if block.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        raise UsageError("the list of names is UTF-16. Save it as UTF-8, in PowerShell by: Out-File -Encoding utf8")
    while block:
        rest += block
        separator = separator or next((mark for mark in (b"\0", b"\n") if mark in rest), b"")
        if separator:
            *whole, rest = rest.split(separator)
            yield from _decoded(whole, separator)
        block = names.read1(BLOCK)
    yield from _decoded([rest], separator)


def _decoded(names: Iterable[bytes], separator: bytes) -> Iterator[str]:
    end = b"" if separator == b"\0" else b"\r"
    return map(os.fsdecode, filter(None, (name.removesuffix(end) for name in names)))
