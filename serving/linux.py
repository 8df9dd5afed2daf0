"""What the server's process asks of the system: how its threads take turns, open files, its memory back, signals."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

MOST_FILES = 65_536
"""As many as one process asks for; some systems allow a billion, which few need and some libraries go through."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""glibc's names for what its mallopt sets."""


def settle() -> None:
    """Ask for all of it but signals; elsewhere than on Linux nothing happens."""
    if sys.platform == "linux":
        _run_to_the_end()
        _allow_open_files()
        _give_memory_back()


def on_signal(act: Callable[[int], object]) -> None:
    """Act on the number of each SIGTERM and SIGINT from now on."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: act(received))


def _run_to_the_end() -> None:
    """Let no thread of ours break off another because it could run: by Python's lock they only wait for each other.

    A thread that gives the lock away, for LiteRT, wakes one that wants it; on the same core that one would run at once.
    """
    with suppress(OSError):  # a sandbox may forbid it; then there are more switches, nothing worse
        for task in Path("/proc/self/task").iterdir():  # NumPy has begun some already
            os.sched_setscheduler(int(task.name), os.SCHED_BATCH, os.sched_param(0))


def _allow_open_files() -> None:
    """Take all the file descriptors that the system allows: many give 1,024 at first, and each connection costs one."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # a sandbox may forbid it
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, MOST_FILES)), hard))


def _give_memory_back() -> None:
    """Let the memory of a large request go back to the system with its answer, not stay in the arenas of the threads.

    Of twenty requests of 7 and 8 MB 40 to 50 MB stayed instead of 115 to 140, in glibc, and none took longer.
    """
    with suppress(AttributeError, OSError):  # another C library than glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 1 << 20)
        mallopt(M_TRIM_THRESHOLD, 2 << 20)
