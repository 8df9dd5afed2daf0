"""LiteRT: a small C++ engine, 46 MB in memory where TensorFlow takes 570, and as fast for these models."""

import hashlib
import queue
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
from client.tensors import Array
from serving import versions
from serving.engine import silenced_stderr
from serving.errors import ServingError, invalid
from serving.signatures import Signatures

BATCH_SIZES = (32, 8, 1)
"""One fixed interpreter for each: an interpreter that is resized at request time allocates again, 20 times slower."""
INTERPRETER_SETS = 2
"""How many requests compute at once; an interpreter serves one at a time and releases Python's lock meanwhile."""


class LiteRTEngine:
    """LiteRT with fixed batch sizes; the `benchmark` signature comes from the version's benchmark.json."""

    name = "LiteRT"

    def __init__(self, version_dir: Path) -> None:
        content = (version_dir / versions.LITERT_FILE).read_bytes()
        self._free: queue.SimpleQueue[_InterpreterSet] = queue.SimpleQueue()
        for _ in range(INTERPRETER_SETS):
            self._free.put(_InterpreterSet(content))
        self._benchmark = _benchmark_columns(version_dir / versions.BENCHMARK_FILE)

    def run(self, signature: str, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Compute the named outputs of `serving_default` or `benchmark`."""
        if signature == SERVING_SIGNATURE:
            probabilities = self._classify(inputs[IMAGES])
            answer = {PROBABILITIES: probabilities, DIGIT: probabilities.argmax(axis=1).astype(np.int64)}
        elif signature == BENCHMARK_SIGNATURE:
            answer = self._rows(inputs[ROW])
        else:
            raise invalid(f"Signature {signature} cannot be run.")  # __saved_model_init_op: no tensor comes out
        return {name: answer[name] for name in outputs}

    def close(self) -> None:
        """Let go of the interpreters."""
        self._free = queue.SimpleQueue()

    def _classify(self, images: Array) -> Array:
        interpreters = self._free.get()
        try:
            return interpreters.run(images)
        finally:
            self._free.put(interpreters)

    def _rows(self, row: Array) -> dict[str, Array]:
        past_the_end = len(self._benchmark[BENCHMARK_FIELDS[0]]) - 1
        index = np.where((row >= 0) & (row < past_the_end), row, past_the_end)
        return {name: column[index] for name, column in self._benchmark.items()}


class _InterpreterSet:
    """One interpreter for each batch size, warm, for one caller at a time."""

    def __init__(self, content: bytes) -> None:
        self._interpreters = {size: _interpreter(content, size) for size in BATCH_SIZES}

    def run(self, images: Array) -> Array:
        """Compute float32 [n, 10] from uint8 [n, 28, 28], split greedily into the fixed sizes."""
        probabilities = np.empty((len(images), CLASSES), np.float32)
        done = 0
        for size, (interpreter, source, target) in self._interpreters.items():
            while len(images) - done >= size:
                interpreter.set_tensor(source, images[done : done + size])
                interpreter.invoke()
                probabilities[done : done + size] = interpreter.get_tensor(target)
                done += size
        return probabilities


def _interpreter(content: bytes, size: int) -> tuple[Any, int, int]:
    from ai_edge_litert.interpreter import Interpreter

    with silenced_stderr():
        interpreter = Interpreter(model_content=content, num_threads=1)
        source = interpreter.get_input_details()[0]
        interpreter.resize_tensor_input(source["index"], [size, IMAGE_SIZE, IMAGE_SIZE])
        interpreter.allocate_tensors()
    target = interpreter.get_output_details()[0]["index"]
    interpreter.set_tensor(source["index"], np.zeros((size, IMAGE_SIZE, IMAGE_SIZE), np.uint8))
    interpreter.invoke()  # packs the weights and settles the output's shape
    answer = interpreter.get_tensor(target)
    if answer.shape != (size, CLASSES) or answer.dtype != np.float32:
        raise ServingError("FAILED_PRECONDITION", "model.tflite does not give ten probabilities for each image")
    return interpreter, source["index"], target


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
