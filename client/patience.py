"""How long is waited, and for what: arithmetic of time that both clients sleep by, without sleeping here."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

from client.answers import VersionStatus
from client.errors import (
    DeadlineExceeded,
    ModelNotFound,
    RequestCancelled,
    ServerError,
    ServerUnavailable,
    UsageError,
)
from client.questions import Peer

PATIENCE = 60.0
"""Seconds that a stream waits for a server that has answered before: longer than a restart takes."""
FIRST_PAUSE = 0.05
"""Seconds before a refused request is sent again, give or take half; doubled each time ..."""
LONGEST_PAUSE = 2.0
"""... up to this: a server that is back after a minute is not left waiting."""
POLL_SECONDS = 0.1
SHORTEST_LOOK = 1.0
"""Seconds; gRPC's own tries, after which it says what is wrong with a connection, take 0.7."""
DAY = 86_400
"""Seconds that anything is waited for at most: gRPC's own limit of 2⁶³ ns is a deadline that is over at once."""
BUSY = {"RESOURCE_EXHAUSTED"}
RESTARTING = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "ABORTED", "NOT_FOUND"}
"""What clients see of a server that stops, hangs, starts, has not loaded its model yet, past gRPC's own few retries."""


class Budget:
    """How long a request may take.

    `timeout` seconds are all that it has, with every further try. With `patience`, for a long run whose server has
    answered before, each try has `timeout` seconds, and tries go on until `patience` seconds after the first failure.
    """

    def __init__(self, timeout: float, patience: float = 0) -> None:
        self.timeout, self.patience = timeout, patience
        self._end = None if patience else time.monotonic() + timeout
        self._pause = FIRST_PAUSE

    def attempt(self) -> float:
        """Give the deadline of the next try in seconds."""
        if self.patience or self._end is None:
            return self.timeout
        return max(self._end - time.monotonic(), 1e-3)

    def pause(self, status: str) -> float | None:
        """Give the seconds to wait before the next try; None when this failure is the last."""
        now = time.monotonic()
        self._end = self._end or now + self.patience
        pause = self._pause * random.uniform(0.5, 1.5)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        worth_it = status in BUSY or (self.patience and status in RESTARTING)
        return pause if worth_it and now + pause < self._end else None


class Wait:
    """The wait for a version to become AVAILABLE, at most `timeout` seconds."""

    def __init__(self, peer: Peer, timeout: float) -> None:
        self._end = time.monotonic() + (0 if timeout == 0 else positive(timeout))
        self._late = DeadlineExceeded(
            f"{peer.model} at {peer.server} is not ready after {timeout:g} s. Look into the server's log",
            "DEADLINE_EXCEEDED",
        )
        self._failure: ServerError = self._late

    @contextmanager
    def forgiving(self) -> Iterator[None]:
        """Hold back the failures of a server that is starting."""
        self._failure = self._late
        try:
            yield
        except (ServerUnavailable, DeadlineExceeded, RequestCancelled, ModelNotFound) as error:
            self._failure = error

    def look(self, timeout: float) -> float:
        """Give the seconds that a look may take which may take `timeout` by itself."""
        return min(timeout, max(self._end - time.monotonic(), SHORTEST_LOOK))

    def pause(self) -> float:
        """Give the seconds until the next look. Raises the last failure when the time is over."""
        if time.monotonic() > self._end:
            raise self._failure
        return POLL_SECONDS


def available(versions: list[VersionStatus]) -> VersionStatus | None:
    """Give the newest version that answers."""
    return next((version for version in versions if version.state == "AVAILABLE"), None)


def positive(timeout: float, name: str = "timeout") -> float:
    """Check a number of seconds. Raises UsageError with the name that it was given by."""
    try:
        if 0 < timeout <= DAY:
            return timeout
        given = f"{timeout:g}"
    except TypeError:  # None, of a setting that is not there
        given = repr(timeout)
    raise UsageError(f"{name} {given}: give a number of seconds above 0, and at most {DAY:,}, a day")
