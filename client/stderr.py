"""Standard error while a library's C++ prints to its descriptor what no setting turns off."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator


class _Silence:
    """Standard error's descriptor, sent nowhere while anybody wants silence."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted = 0
        self._kept = -1

    def begin(self) -> None:
        with self._lock:
            if self._wanted == 0:
                sys.stderr.flush()
                sink = os.open(os.devnull, os.O_WRONLY)
                self._kept = os.dup(2)
                os.dup2(sink, 2)
                os.close(sink)
            self._wanted += 1

    def end(self) -> None:
        with self._lock:
            self._wanted -= 1
            if self._wanted == 0:
                os.dup2(self._kept, 2)
                os.close(self._kept)


_silence = _Silence()


@contextlib.contextmanager
def silenced_stderr() -> Iterator[None]:
    """Drop what a library's C++ prints while it loads and no setting turns off; its errors come as exceptions.

    For any number of threads at a time. What Python prints meanwhile is lost too, unless its `sys.stderr` has a
    descriptor of its own (`own_stderr`).
    """
    _silence.begin()
    try:
        yield
    finally:
        _silence.end()


def own_stderr() -> None:
    """Give Python's standard error a descriptor of its own, which the silence of others does not reach."""
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
