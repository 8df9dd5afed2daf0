"""What the server takes on: past a limit a request is refused at once, and none is computed for a caller who left."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from serving.errors import ServingError, gone, too_late

MEMORY_ROWS = 256
"""A request of so many rows counts half in the average of what a row takes; one of few, mostly overhead, little."""
ANSWER_SECONDS, TIMES_OWN = 0.05, 1
"""Without --max-wait-seconds, a request may wait so long that it is answered after ANSWER_SECONDS, or TIMES_OWN times
as long as it takes itself: of large ones the second is let in, and both are answered after twice what one takes."""
SPARE_THREADS = 8
"""Beside one for each Predict in flight: for status, health, and saying no."""
FEW_IN_FLIGHT, CALM_SECONDS, SHED_SECONDS = 4, 0.1, 10.0
"""See Admission. Of 2,600 single images a second on a core that answers 1,800, 99 % of those that are let in have their
answer within 30 ms; with 96 in flight they, and the refusals, take up to half a second."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most that one server takes on: Predict requests in flight, seconds that one may have to wait for others
    (None: ANSWER_SECONDS and TIMES_OWN), images a request, MiB a message, and the seconds that a message may take to
    come in."""

    in_flight: int = 96
    wait_seconds: float | None = None
    images: int = 32_768
    message_mib: int = 64
    read_seconds: float = 30.0

    @property
    def threads(self) -> int:
        """How many threads a protocol needs, so that nothing waits for one."""
        return self.in_flight + SPARE_THREADS


class Budget(NamedTuple):
    """What one request may cost: rows, and the time (time.monotonic) until which somebody waits for its answer.

    `wanted` tells whether anybody still does.
    """

    rows: float = math.inf
    until: float = math.inf
    wanted: Callable[[], bool] = lambda: True

    def check_rows(self, rows: int) -> None:
        """Raise RESOURCE_EXHAUSTED for too many rows."""
        if rows > self.rows:
            raise ServingError(
                "RESOURCE_EXHAUSTED", f"A request of {rows} rows; this server takes at most {self.rows}. Split it."
            )

    def seconds_left(self) -> float:
        """Give the seconds until the deadline; infinite without one."""
        return self.until - time.monotonic()

    def check_time(self) -> None:
        """Raise DEADLINE_EXCEEDED when the deadline has passed, and CANCELLED when nobody waits any more."""
        if self.seconds_left() < 0:
            raise too_late()
        if not self.wanted():
            raise gone()


BOUNDLESS = Budget()


class Admission:
    """Counts the requests in flight and refuses one too many instead of letting it wait: a block is a request.

    That many are only in flight at once when more come than are answered. So after a refusal but a few are let in at a
    time, and answered soon, until CALM_SECONDS have passed without one; after SHED_SECONDS in any case, because callers
    who ask again at once are refused without end.
    """

    def __init__(self, most: int) -> None:
        self._most, self._few = most, min(most, FEW_IN_FLIGHT)
        self._lock = threading.Lock()
        self._in_flight = 0
        self._refused_at = self._shed_until = -math.inf

    def __enter__(self) -> None:
        """Let a request in. Raises RESOURCE_EXHAUSTED."""
        with self._lock:
            self._check()
            self._in_flight += 1

    def __exit__(self, *error: object) -> None:
        """Let it out again."""
        with self._lock:
            self._in_flight -= 1

    def _check(self) -> None:
        now = time.monotonic()
        shed = now < min(self._shed_until, self._refused_at + CALM_SECONDS)
        most = self._few if shed else self._most
        if self._in_flight < most:
            return
        self._refused_at = now
        if not shed:
            self._shed_until = now + SHED_SECONDS
        why = " while more come than it answers" if most < self._most else ""
        raise ServingError(
            "RESOURCE_EXHAUSTED", f"{most} in flight already, as many as this server takes at a time{why}"
        )


class Rate:
    """Refuses a caller who comes more than so many times a second, after a burst; for one thread.

    A caller is known by what is due: the moment at which all that he has asked for would be over at that rate.
    """

    MOST_CALLERS = 10_000
    """The one who has not come for the longest time is forgotten then."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second, self._seconds_ahead = per_second, burst / per_second
        self._due: dict[str, float] = {}

    def check(self, caller: str) -> None:
        """Let a caller come once. Raises RESOURCE_EXHAUSTED."""
        now = time.monotonic()
        due = max(self._due.pop(caller, now), now)
        late = due - now > self._seconds_ahead - 1 / self._per_second
        self._due[caller] = due if late else due + 1 / self._per_second
        if len(self._due) > self.MOST_CALLERS:
            del self._due[next(iter(self._due))]
        if late:
            raise ServingError("RESOURCE_EXHAUSTED", f"more than {self._per_second:g} a second. Try again in a moment")


class Backlog:
    """Counts the rows that are let in and not computed yet, and refuses a request that would wait too long for them.

    Requests are computed a step of each in turn (litert.py), so that one of few rows waits for as few of every other:
    no bulk holds it up. How long a row takes is a moving average: a count alone lets 96 requests of one image wait for
    milliseconds, and 96 of 256 images for many seconds. `at_a_time` requests are computed beside each other.
    One that fails is computed in part or not at all, and can only tell that a row takes longer.
    """

    def __init__(self, most_seconds: float | None, at_a_time: int = 1) -> None:
        self._most_seconds, self._times_own = most_seconds, TIMES_OWN * at_a_time
        self._lock = threading.Lock()
        self._requests = self._rows = 0
        self._seconds_a_row = 0.0

    @property
    def rows(self) -> int:
        """How many rows are let in and not computed yet."""
        return self._rows

    @contextmanager
    def turn(self, rows: int) -> Iterator[None]:
        """Let a request of so many rows be computed while the block lasts. Raises RESOURCE_EXHAUSTED."""
        with self._lock:
            self._check(rows)
            self._requests += 1
            self._rows += rows
            ahead = self._rows
        start, failed = time.perf_counter(), True
        try:
            yield
            failed = False
        finally:
            with self._lock:
                self._requests -= 1
                self._rows -= rows
                self._learn((time.perf_counter() - start) / max(ahead, 1), rows, failed)

    def _learn(self, seconds_a_row: float, rows: int, failed: bool) -> None:
        known = self._seconds_a_row
        if failed and not 0 < known < seconds_a_row:
            return
        likely = min(seconds_a_row, 2 * known) if known else seconds_a_row  # a machine that stood still tells nothing
        self._seconds_a_row += (likely - known) * rows / (rows + MEMORY_ROWS)

    def _check(self, rows: int) -> None:
        before = min(self._rows, self._requests * rows)
        wait_seconds = before * self._seconds_a_row
        most_seconds = self._most_seconds
        if most_seconds is None:
            own_seconds = rows * self._seconds_a_row
            most_seconds = max(ANSWER_SECONDS - own_seconds, self._times_own * own_seconds)
        if wait_seconds > most_seconds:
            raise ServingError(
                "RESOURCE_EXHAUSTED",
                f"{before} rows come first, about {wait_seconds:.2g} s; this server lets a request of {rows} wait for "
                f"{most_seconds:.2g} s",
            )
