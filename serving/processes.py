"""Several server processes on the same two ports, one a core, and the parent that starts them again.

The kernel gives each new connection to one of them (SO_REUSEPORT), and there it stays: a caller with a single
connection is answered by one process. They share nothing else. Each follows the models' folder or configuration on its
own, so for a poll's length one may answer with a version that another does not have yet. One Python process on two
cores is slower than on one, because its threads hand Python's lock from core to core; hence the pinning.
"""

import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from client.errors import DigitsError
from serving.linux import on_signal
from serving.settings import Settings, cannot_listen

LEAST_SECONDS = 1.0
"""Between two starts of the same process: one that cannot live costs a line a second and no more."""


def run_several(settings: Settings, count: int) -> None:
    """Serve until SIGTERM or SIGINT, then let every process finish its calls; a second signal leaves at once.

    When this process dies, by SIGKILL too, the others finish their calls and end. Raises DigitsError or OSError when
    one of them cannot begin.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise DigitsError("this system does not let processes share a port (SO_REUSEPORT): serve with --processes 1")
    with ExitStack() as reserved:
        port = reserved.enter_context(_reserved(settings, settings.port, "--port"))
        rest_port = settings.rest_port
        if rest_port is not None:
            rest_port = reserved.enter_context(_reserved(settings, rest_port, "--rest-port"))
        with _Parent(replace(settings, port=port, rest_port=rest_port)) as parent:
            parent.start(count)
            parent.watch()


@contextmanager
def _reserved(settings: Settings, port: int, option: str) -> Iterator[int]:
    """Hold a port that nobody listens on, for the processes to share."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind((settings.host, port))
        except OSError:
            raise cannot_listen(settings.address(port), option) from None
        # Only now: before, it would let a stranger's port be shared.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        yield holder.getsockname()[1]


@dataclass(frozen=True)
class _Child:
    """A process, when it was started (time.monotonic), and where it says its one word.

    That is what to announce, or the error for which it cannot begin.
    """

    process: BaseProcess
    started: float
    word: Connection

    def end(self) -> str:
        """Say how it has ended."""
        self.process.join()
        code = self.process.exitcode or 0
        return f"was ended by {_signal_name(-code)}" if code < 0 else f"has ended with code {code}"

    def reason(self) -> str:
        """Say why it could not begin, once it has ended; empty when it could, or has not said it."""
        try:
            word = self.word.recv()
        except (EOFError, OSError):
            return ""
        return str(word) if isinstance(word, Exception) else ""


class _Parent:
    """Starts the processes, again when one dies, and ends them when it is left.

    It stays on one thread and imports nothing that starts another: a fork copies only the thread that calls it.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._context = settings, get_context("fork")
        self._children: dict[int, _Child] = {}
        self._reasons: dict[int, str] = {}
        self._lifeline = os.pipe()  # nothing is written: that its last writer is gone tells the processes to stop
        self._signals, self._received = os.pipe()

    def __enter__(self) -> "_Parent":
        on_signal(self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lifeline[1])
        for child in self._children.values():
            child.process.join()

    def _receive(self, number: int) -> None:
        os.write(self._received, b".")
        on_signal(self._leave)

    def _leave(self, number: int) -> None:
        for child in self._children.values():
            child.process.kill()
        os._exit(128 + number)

    def start(self, count: int) -> None:
        """Start the processes and announce the service once all answer. Raises what keeps one from it."""
        for number in range(1, count + 1):
            self._fork(number)
        words = [self._hear(number) for number in self._children]
        for line in words[0]:
            self._settings.log(line)

    def watch(self) -> None:
        """Start again what dies, until a signal comes."""
        while self._signals not in wait(
            [self._signals, *(child.process.sentinel for child in self._children.values())]
        ):
            for number, child in list(self._children.items()):
                if not child.process.is_alive():
                    self._tell(number, child)
                    self._fork(number, max(0, child.started + LEAST_SECONDS - time.monotonic()))

    def _tell(self, number: int, child: _Child) -> None:
        """Say that a process has ended; of one that cannot begin, only for another reason than the last time."""
        reason = child.reason()
        if not reason:
            self._settings.log(f"error: process {number} {child.end()}: it is started again")
        elif reason != self._reasons.get(number):
            self._settings.log(f"error: process {number} cannot begin: {reason} (tried again every second)")
        self._reasons[number] = reason

    def _fork(self, number: int, pause_seconds: float = 0) -> None:
        ours, theirs = self._context.Pipe(duplex=False)
        settings = replace(self._settings, process=number, log=self._settings.log.of(number))
        child = self._context.Process(target=_work, args=(settings, pause_seconds, self._lifeline, theirs), daemon=True)
        child.start()
        theirs.close()
        self._children[number] = _Child(child, time.monotonic() + pause_seconds, ours)

    def _hear(self, number: int) -> list[str]:
        """Wait for a process's word; nothing when a signal comes first."""
        child = self._children[number]
        if self._signals in wait([self._signals, child.word]):
            return []
        try:
            word: list[str] | Exception = child.word.recv()
        except EOFError:
            word = DigitsError(f"process {number} {child.end()} before it could serve. Try --processes 1.")
        if isinstance(word, Exception):
            raise word
        return word


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # between SIGRTMIN and SIGRTMAX they have none
        return f"signal {number}"


def _work(settings: Settings, pause_seconds: float, lifeline: tuple[int, int], word: Connection) -> None:
    """Serve in this process until the lifeline ends or SIGTERM comes."""
    stop: queue.SimpleQueue[int] = queue.SimpleQueue()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, lambda number, _: stop.put(number))
    os.close(lifeline[1])
    threading.Thread(target=lambda: stop.put(len(os.read(lifeline[0], 1))), name="lifeline", daemon=True).start()
    _pin(settings.process or 1)
    time.sleep(pause_seconds)
    try:
        from serving.server import serve

        serve(settings, stop, word.send)
    except (DigitsError, OSError) as error:
        word.send(error)
        sys.exit(1)


def _pin(number: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[(number - 1) % len(cores)]})
