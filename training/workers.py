"""Run each training or export in a fresh process: TensorFlow's memory and seeds are its own, and so is its noise.

What TensorFlow prints goes to `log.txt` of the run directory; what a worker has to say comes over a pipe.
"""

import contextlib
import os
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context, set_start_method
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from client.errors import DigitsError

Reporter = Callable[[Any], None]
Task = Callable[[Reporter], Any]
"""A picklable callable: it gets a function to report progress with, and returns the outcome."""
Runner = Callable[[Iterable[tuple[str, Task, Path]], int], Iterator[Any]]
"""What runs tasks side by side: `run` here, or `cluster.run` on a cluster."""


@dataclass(frozen=True)
class Done:
    """A worker's outcome."""

    name: str
    outcome: Any


@dataclass(frozen=True)
class Failed:
    """Why a worker has no outcome, in one line, and the exit code that goes with it."""

    name: str
    error: str
    exit_code: int


def run(tasks: Iterable[tuple[str, Task, Path]], parallel: int) -> Iterator[Any]:
    """Run (name, task, log file) at most `parallel` at once; yield what they report, and Done or Failed for each.

    Leaving the iterator early, by Ctrl-C too, ends the workers that are still running.
    """
    context = get_context("spawn")  # a fork of a process with threads may hang
    waiting, running = deque(tasks), dict[Connection, tuple[str, Path, BaseProcess]]()
    try:
        while waiting or running:
            while waiting and len(running) < parallel:
                name, task, log = waiting.popleft()
                ours, theirs = context.Pipe(duplex=False)
                process: BaseProcess = context.Process(target=_work, args=(name, task, log, theirs), daemon=True)
                process.start()
                theirs.close()
                running[ours] = name, log, process
            for pipe in wait(list(running)):
                assert isinstance(pipe, Connection)
                yield from _receive(pipe, running)
    finally:
        for _, _, process in running.values():
            process.terminate()
            process.join()


def _receive(pipe: Connection, running: dict[Connection, tuple[str, Path, BaseProcess]]) -> Iterator[Any]:
    name, log, process = running[pipe]
    try:
        message = pipe.recv()
    except EOFError:
        process.join()
        error = f"{name}: the process ended with code {process.exitcode} (-9: out of memory?). See {log}"
        message = Failed(name, error, 1)
    if isinstance(message, Done | Failed):
        process.join()
        del running[pipe]
    yield message


def _work(name: str, task: Task, log: Path, pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    set_start_method("fork", force=True)  # or Python complains of the lock in numcodecs when a worker is ended
    pipe.send(attempt(name, task, log, pipe.send))


def attempt(name: str, task: Task, log: Path, report: Reporter) -> Done | Failed:
    """Run a task in this process, which is its own, and say what became of it; what is printed goes to its log."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, sys.stdout.fileno())
        os.dup2(descriptor, sys.stderr.fileno())
        return Done(name, task(report))
    except DigitsError as error:
        return Failed(name, str(error), error.exit_code)
    except OSError as error:
        _write_traceback(log)
        where = error.filename or log.parent
        reason = (
            f"{name}: {where}: {error.strerror or error}. Mend that and run the same command: it goes on from there."
        )
        return Failed(name, reason, 1)
    except Exception as error:
        _write_traceback(log)
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]  # Keras adds pages of configuration
        return Failed(name, f"{name}: {reason}. The whole story is in {log}", 1)


def _write_traceback(log: Path) -> None:
    with contextlib.suppress(OSError), log.open("a", encoding="utf-8") as file:  # the full disk may be the log's
        traceback.print_exc(file=file)
