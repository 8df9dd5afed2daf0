"""The client of a digit server: TensorFlow Serving or the embedded server, which speak the same API."""

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any, ClassVar, Self

import grpc

from client.answers import Benchmark, Prediction, VersionStatus
from client.batches import Batch, batches
from client.calls import Call
from client.connection import IN_FLIGHT, Connection
from client.number import Number, find_number
from client.patience import PATIENCE, Wait, available
from client.prepare import Picture
from client.questions import MOST_ROWS, ROWS, Answer, Question
from client.results import Result, results

Flight = tuple[Batch, Call[list[Prediction]] | None]
"""A batch and its request; none for a batch without a single image."""


class Client(Connection):
    """Reads digits through a server. Threads may share one. Close it, or use it in a `with` block.

        with Client("127.0.0.1:8500") as client:
            [prediction] = client.classify(["seven.png"])

    `server` is HOST:PORT, several of them with commas, or dns:///NAME:PORT for all addresses of a name; calls go round.
    `timeout` is what a request may take in seconds, with every further try. `version` asks for one version instead of
    the newest. A request holds at most `batch` images. `tls`, `ca`, `cert`, `key` and `token` are those of Security in
    client/channel.py; the certificates of several servers are for the first one's name. With a `channel` of your own,
    which stays yours to close, `server` is only its name in messages. Every method may raise a ServerError
    (client/errors.py), and never a `grpc.RpcError`.
    """

    _api: ClassVar[Any] = grpc

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. Closing again does no harm."""
        if self._owns_channel:
            self._channel.close()

    def classify(self, pictures: Iterable[Picture]) -> list[Prediction]:
        """Classify pictures, in their order. They are read while requests are under way; none, no request.

        Raises InvalidImage at the first that is not an image, and NoDigit at the first without ink.
        """
        return [result.expect() for result in self.stream(pictures, patience=0)]

    def stream(
        self, pictures: Iterable[Picture], *, processes: int = 1, patience: float = PATIENCE
    ) -> Generator[Result, None, None]:
        """Classify any number of pictures in bounded memory: one Result each, in order, also for a bad one.

        More `processes` read slow pictures side by side; they import the script that asks for them, which must do its
        work under `if __name__ == "__main__":`. A server that has answered and then goes away is waited for, `patience`
        seconds; nothing is lost or done twice. Pictures are read ahead of their answers: a source that waits for an
        answer before it gives the next picture waits for ever.
        """
        flights: deque[Flight] = deque()
        try:
            for batch in batches(pictures, processes, self._batch):
                flights.append((batch, self._send(batch, patience)))
                while flights and (len(flights) == IN_FLIGHT or _landed(flights[0])):
                    yield from _results(flights.popleft())
            while flights:
                yield from _results(flights.popleft())
        finally:
            for _, call in flights:
                if call:
                    call.cancel()

    def read(self, picture: Picture) -> Number:
        """Read the digits of a number from left to right, line by line. Raises InvalidImage, and NoDigit."""
        number = find_number(picture)
        return replace(number, predictions=tuple(self.classify([place.pixels for place in number.places])))

    def benchmark(self, version: int | None = None) -> list[Benchmark]:
        """Fetch the results table that comes with a version, by default the one that this client asks for.

        Raises ContractMismatch when the model was exported without one.
        """
        table: list[Benchmark] = []
        for start in range(0, MOST_ROWS, ROWS):
            rows = self._ask(self._peer.rows(start, version))
            table += rows
            if len(rows) < ROWS:
                break
        return table

    def status(self) -> list[VersionStatus]:
        """Tell the state of each version of the model that the server knows, the newest first."""
        return self._ask(self._peer.status())

    def wait_until_ready(self, timeout: float = 30.0) -> VersionStatus:
        """Wait until a version is AVAILABLE and give it. Raises the last failure after `timeout` seconds."""
        wait = Wait(self._peer, timeout)
        while True:
            with wait.forgiving():
                if version := available(self._call(self._peer.status(), timeout=wait.look(self.timeout)).result()):
                    return version
            time.sleep(wait.pause())

    def _send(self, batch: Batch, patience: float) -> Call[list[Prediction]] | None:
        """Send a batch, the first after a look at the contract; threads may look twice, which is harmless."""
        if not batch.images:
            return None
        if not self._checked:
            self._ask(self._peer.signature())
            self._checked = True
        return self._call(self._peer.predict(batch.images), patience)

    def _ask(self, question: Question[Answer]) -> Answer:
        return self._call(question).result()

    def _call(self, question: Question[Answer], patience: float = 0, timeout: float | None = None) -> Call[Answer]:
        return Call(self._channel, question, self._peer, self._budget(patience, timeout))


def _landed(flight: Flight) -> bool:
    return flight[1] is None or flight[1].done()


def _results(flight: Flight) -> Iterator[Result]:
    batch, call = flight
    return results(batch, call.result() if call else [])
