"""Pictures to what the network takes, one or a stream of them, in other processes where that pays."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image

from client import contract
from client.digit import Pixels, Prepared, as_mnist, find_digit
from client.errors import DigitsError, InvalidImage, NoDigit
from client.image import OWN_FILES, WORKING_SIZE, Decoded, Guard, Source, decode, to_grey
from client.page import Box

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

BATCH = 256
"""Images a request: 200 kB, far below gRPC's usual limit of 4 MiB, and enough to fill the engine."""
LONGEST_WAIT = 0.25
"""Seconds after which a batch is sent as it is, so that slow photos show progress."""
TRIAL = 32
"""Pictures prepared here to learn what one costs."""
WORTH_A_PROCESS = 0.002
"""Seconds a picture from which processes pay: photos cost 10 ms, files of 28×28 cost 0.1 ms and a start 0.3 s."""
MOST_PROCESSES = 61
"""Windows' pool takes no more."""
CHUNK = 4
"""Pictures that go to a process together. Chunks under way end before the command: with 16 of 70 ms Ctrl-C took 3 s."""

CLOSER = 4
"""A tiny digit is looked at again in at most so many times as many pixels a side."""
TINY = 0.2
"""Length of a tiny digit, of the picture's longer side."""

Picture: TypeAlias = Source | Pixels | InvalidImage
"""A file, the bytes of one, a Pillow image, a uint8 array [28, 28] that is used as it is, or why there is none."""

Outcome: TypeAlias = Prepared | InvalidImage


@dataclass
class Batch:
    """Pictures that go into one request, with what became of each; only the prepared ones are sent.

    The last one of a source that failed holds only that failure, which waits for its turn like a picture.
    """

    pictures: list[Picture] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    failure: Exception | None = None

    @property
    def images(self) -> list[Pixels]:
        """What the request holds."""
        return [outcome.pixels for outcome in self.outcomes if isinstance(outcome, Prepared)]


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
    with named(picture):
        whole = decoded(picture, guard=guard)
        if max(whole.size) < 1.5 * WORKING_SIZE:
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
def named(picture: Picture) -> Iterator[None]:
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
    found = find_digit(to_grey(decoded.image)) if small is None else Prepared(small)
    return replace(found, notes=(*found.notes, *decoded.notes)) if decoded.notes else found


def _prepare_large(whole: Decoded, larger: Callable[[], Decoded]) -> Prepared:
    """Mends tiny digits in large pictures: looks again at where the digit is, or may be, in more pixels."""
    try:
        found = _prepare(whole)
    except NoDigit:
        return _prepare(larger())
    if found.box is None or _length(found.box) >= TINY * WORKING_SIZE:
        return found
    closer = larger()
    part = _around(found.box, max(closer.image.size) / max(whole.image.size), closer.image)
    try:
        return replace(_prepare(closer._replace(image=part)), notes=found.notes)
    except NoDigit:
        return found


def _length(box: Box) -> float:
    left, top, right, bottom = box
    return max(right - left, bottom - top)


def _around(box: Box, scale: float, image: Image.Image) -> Image.Image:
    """Cut a square of three times a digit's length around it, as far as there is picture, out of more pixels."""
    across, down, reach = (box[0] + box[2]) / 2 * scale, (box[1] + box[3]) / 2 * scale, 1.5 * _length(box) * scale
    left, top = max(0, round(across - reach)), max(0, round(down - reach))
    return image.crop((left, top, min(image.width, round(across + reach)), min(image.height, round(down + reach))))


def attempt(picture: Picture, guard: Guard = OWN_FILES) -> Outcome:
    """Prepare one picture; a bad one is an outcome too, so that it does not stop the others."""
    try:
        return prepare(picture, guard)
    except InvalidImage as error:
        return error


def batches(pictures: Iterable[Picture], processes: int = 1, size: int = BATCH) -> Iterator[Batch]:
    """Prepare a stream of pictures, in order and never more than a few batches ahead."""
    batch, started = Batch(), time.monotonic()
    try:
        for picture, outcome in outcomes(pictures, processes):
            batch.pictures.append(picture)
            batch.outcomes.append(outcome)
            if len(batch.pictures) == size or time.monotonic() - started > LONGEST_WAIT:
                yield batch
                batch, started = Batch(), time.monotonic()
    except Exception as error:
        yield batch
        batch = Batch(failure=error)
    if batch.pictures or batch.failure:
        yield batch


def outcomes(pictures: Iterable[Picture], processes: int) -> Iterator[tuple[Picture, Outcome]]:
    """Prepare in this process, or in several when there are enough pictures and they turn out to be slow."""
    if isinstance(pictures, str | bytes | os.PathLike | Image.Image):  # a str would be taken letter by letter
        raise TypeError(f"pictures come as a list, or another iterable: [{type(pictures).__name__}]")
    source, spent, count = iter(pictures), 0.0, 0
    processes = min(processes, MOST_PROCESSES)
    for picture in islice(source, TRIAL) if processes > 1 else source:
        started = time.perf_counter()
        outcome = attempt(picture)
        spent, count = spent + time.perf_counter() - started, count + 1
        yield picture, outcome
    rest = list(islice(source, 1))  # no process is started for nothing
    if rest and spent > WORTH_A_PROCESS * count and (pool := _started(processes)):
        yield from _in_processes(pool, chain(rest, source), 2 * processes)
    else:
        yield from ((picture, attempt(picture)) for picture in chain(rest, source))


def _started(processes: int) -> "ProcessPoolExecutor | None":
    """Start a first process before a picture is taken for it. Where none can be there is no pool.

    They are reached by a socket in a folder for temporary files, which a read-only root may lack.
    """
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_all_start_methods, get_context

    method = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"  # a fork would copy gRPC's threads
    try:
        pool = ProcessPoolExecutor(processes, get_context(method), _end_with_parent)
        pool.submit(_attempt_all, [])
    except OSError:
        return None
    return pool


def _in_processes(
    pool: "ProcessPoolExecutor", pictures: Iterator[Picture], ahead: int
) -> Iterator[tuple[Picture, Outcome]]:
    """Keep `ahead` chunks under way, which bounds the memory, and give them in order."""
    under_way: deque[tuple[list[Picture], Future[list[Outcome]]]] = deque()
    try:
        while chunk := list(islice(pictures, CHUNK)):
            under_way.append((chunk, pool.submit(_attempt_all, chunk)))
            if len(under_way) == ahead:
                yield from _received(*under_way.popleft())
        while under_way:
            yield from _received(*under_way.popleft())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _end_with_parent() -> None:
    """End this process when the one that started it is killed, which the pool would not notice."""
    from multiprocessing import parent_process

    def watch() -> None:
        if parent := parent_process():
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _attempt_all(pictures: list[Picture]) -> list[Outcome]:
    return [attempt(picture) for picture in pictures]


def _received(pictures: list[Picture], future: "Future[list[Outcome]]") -> Iterator[tuple[Picture, Outcome]]:
    from concurrent.futures.process import BrokenProcessPool

    try:
        done = future.result()
    except BrokenProcessPool as error:
        raise DigitsError(
            "a process that read images ended. Free memory, or use --processes 1; a script of your own needs: "
            "if __name__ == '__main__':"
        ) from error
    except Exception:  # what cannot be sent to a process: a Pillow image is decoded for it, and may be damaged
        done = _attempt_all(pictures)
    yield from zip(pictures, done, strict=True)
