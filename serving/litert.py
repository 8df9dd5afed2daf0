"""LiteRT: a small C++ engine, 46 MB in memory where TensorFlow takes 570, and as fast for these models.

Requests are not joined to batches: of H, 32 images in a call take 0.91 of the time of 32 calls (82 and 89 µs an image
on one core), for which each would wait for others.
"""

import hashlib
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Generic, TypeVar

import numpy as np

from client.contract import (
    BENCHMARK_FIELDS,
    BENCHMARK_SIGNATURE,
    CLASSES,
    DIGIT,
    IMAGE_SIZE,
    IMAGES,
    PROBABILITIES,
    ROW,
    SERVING_SIGNATURE,
)
from client.stderr import silenced_stderr
from client.tensors import Array
from serving import versions
from serving.errors import ServingError, invalid
from serving.limits import Budget
from serving.signatures import Signatures

Item = TypeVar("Item")

BULK_AT_A_TIME = 2
INTERPRETERS = {32: BULK_AT_A_TIME, 8: 1, 1: 1}
"""How many interpreters there are for each fixed number of images: resizing one when a request comes would allocate
again. Two for bulk, so that two cores can work on it."""


class LiteRTEngine:
    """LiteRT with fixed batch sizes; the `benchmark` signature comes from the version's benchmark.json."""

    name = "LiteRT"

    def __init__(self, version_dir: Path) -> None:
        content = (version_dir / versions.LITERT_FILE).read_bytes()
        self._turns = {
            size: Turns([_Interpreter(content, size) for _ in range(count)]) for size, count in INTERPRETERS.items()
        }
        self._benchmark = _benchmark_columns(version_dir / versions.BENCHMARK_FILE)

    def run(
        self, signature: str, inputs: Mapping[str, Array], outputs: Sequence[str], budget: Budget
    ) -> dict[str, Array]:
        """Compute the named outputs of `serving_default` or `benchmark`."""
        if signature == SERVING_SIGNATURE:
            probabilities = self._classify(inputs[IMAGES], budget)
            answer = {PROBABILITIES: probabilities, DIGIT: probabilities.argmax(axis=1).astype(np.int64, copy=False)}
        elif signature == BENCHMARK_SIGNATURE:
            answer = self._rows(inputs[ROW])
        else:
            raise invalid(f"Signature {signature} cannot be run.")  # __saved_model_init_op: no tensor comes out
        return {name: answer[name] for name in outputs}

    def close(self) -> None:
        """Let go of the interpreters."""
        self._turns.clear()

    def _classify(self, images: Array, budget: Budget) -> Array:
        """Compute float32 [n, 10] from uint8 [n, 28, 28], split greedily into the fixed sizes.

        An interpreter is taken for one step at a time, so that a large request does not hold up the others, and one
        that nobody waits for any more ends early.
        """
        parts: list[Array] = []
        done = 0
        for size, turns in self._turns.items():
            while len(images) - done >= size:
                with turns.next() as interpreter:
                    budget.check_time()
                    parts.append(interpreter.run(images[done : done + size]))
                done += size
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _rows(self, row: Array) -> dict[str, Array]:
        past_the_end = len(self._benchmark[BENCHMARK_FIELDS[0]]) - 1
        index = np.where((row >= 0) & (row < past_the_end), row, past_the_end)
        return {name: column[index] for name, column in self._benchmark.items()}


class Turns(Generic[Item]):
    """Things that are used by one caller at a time, in the order in which callers ask.

    From a plain queue a thread that has just put its thing back takes it again before those who wait have woken up:
    of four large requests one then has to itself what all four were let in for.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self._lock = threading.Lock()
        self._free = deque(items)
        self._waiting: deque[SimpleQueue[Item]] = deque()

    @contextmanager
    def next(self) -> Iterator[Item]:
        """Give one for as long as the block lasts."""
        item = self._take()
        try:
            yield item
        finally:
            self._give(item)

    def _take(self) -> Item:
        with self._lock:
            if self._free:
                return self._free.pop()
            handed = SimpleQueue[Item]()
            self._waiting.append(handed)
        return handed.get()

    def _give(self, item: Item) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().put(item)
            else:
                self._free.append(item)


class _Interpreter:
    """An interpreter for a fixed number of images, warm, on one thread; for one caller at a time."""

    def __init__(self, content: bytes, size: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with silenced_stderr():
            self._interpreter = Interpreter(model_content=content, num_threads=1)
            self._source = self._interpreter.get_input_details()[0]["index"]
            self._interpreter.resize_tensor_input(self._source, [size, IMAGE_SIZE, IMAGE_SIZE])
            self._interpreter.allocate_tensors()
        self._target = self._interpreter.get_output_details()[0]["index"]
        answer = self.run(np.zeros((size, IMAGE_SIZE, IMAGE_SIZE), np.uint8))  # packs weights, settles shapes
        if answer.shape != (size, CLASSES) or answer.dtype != np.float32:
            raise ServingError("FAILED_PRECONDITION", "model.tflite does not give ten probabilities for each image")

    def run(self, images: Array) -> Array:
        """Compute float32 [size, 10] from uint8 [size, 28, 28]; releases Python's lock meanwhile."""
        self._interpreter.set_tensor(self._source, images)
        self._interpreter.invoke()
        answer: Array = self._interpreter.get_tensor(self._target)
        return answer


def _benchmark_columns(path: Path) -> dict[str, Array]:
    """Give a column for each benchmark field, with a blank row at the end for indices past it."""
    rows = versions.read_json(path)["results"]
    text, number = np.dtype(object), np.dtype(np.float32)
    dtypes = {"model": text, "description": text, "loss": number, "accuracy": number, "served": np.dtype(bool)}
    blank = {name: "" if dtype == text else 0 for name, dtype in dtypes.items()}
    return {name: np.array([row[name] for row in [*rows, blank]], dtype) for name, dtype in dtypes.items()}


def why_not(version_dir: Path, signatures: Signatures) -> str:
    """Say why a version's LiteRT file is not to be used; empty when it may be.

    It must be the one that was made from this very SavedModel, and must answer all of its signatures.
    """
    binding = version_dir / versions.LITERT_BINDING_FILE
    file = version_dir / versions.LITERT_FILE
    if not binding.exists() or not file.exists():
        return "it has no LiteRT file"
    bound = versions.read_json(binding)
    found = (versions.fingerprint(version_dir), hashlib.sha256(file.read_bytes()).hexdigest())
    if found != (bound.get("saved_model_sha256"), bound.get("tflite_sha256")):
        return "its LiteRT file does not belong to its SavedModel"
    runnable = {name for name, signature in signatures.items() if signature.inputs}
    if runnable != {SERVING_SIGNATURE, BENCHMARK_SIGNATURE}:
        return "its LiteRT file does not cover its signatures"
    return ""
