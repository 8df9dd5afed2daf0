"""A stream of pictures in batches for requests, prepared in other processes where that pays."""

import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING

from PIL import Image

from client.digit import Prepared
from client.errors import DigitsError
from client.mnist import Pixels
from client.prepare import Outcome, Picture, attempt

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
    except (OSError, EOFError):  # EOFError: what starts processes could not start one itself
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
            "a process that read images ended. A script of your own needs: if __name__ == '__main__': and is a file, "
            "not stdin; else free memory, or use --processes 1"
        ) from error
    except Exception:  # what cannot be sent to a process: a Pillow image is decoded for it, and may be damaged
        done = _attempt_all(pictures)
    yield from zip(pictures, done, strict=True)
