"""What a model computes with: `litert.LiteRTEngine`, or `session.SessionEngine` for versions without a LiteRT file."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from client.tensors import Array


class Engine(Protocol):
    """Computes a signature's outputs from inputs that were checked against it; safe under concurrent calls."""

    name: str

    def run(self, signature: str, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Compute the named outputs. Raises ServingError."""

    def close(self) -> None:
        """Free memory; called once, after the last run."""


@contextlib.contextmanager
def silenced_stderr() -> Iterator[None]:
    """Drop what a library's C++ prints while it loads and no setting turns off; its errors come as exceptions."""
    sys.stderr.flush()
    kept, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(sink)
