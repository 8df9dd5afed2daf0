"""The client of a digit server for asyncio: what Client does, awaited."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from dataclasses import replace
from types import TracebackType
from typing import Any, ClassVar, Self

import grpc

from client.answers import Benchmark, Prediction, VersionStatus
from client.batches import Batch, batches
from client.calls import ask
from client.channel import Security
from client.connection import IN_FLIGHT, Connection
from client.errors import UsageError
from client.number import Number, find_number
from client.patience import PATIENCE, Wait, available
from client.prepare import Picture
from client.questions import MOST_ROWS, ROWS, Answer, Question
from client.results import Result, results

Flight = tuple[Batch, "asyncio.Task[list[Prediction]]"]


class AsyncClient(Connection):
    """Reads digits through a server, in the event loop that it is made in. The arguments and errors are Client's.

        async with AsyncClient("127.0.0.1:8500") as client:
            [prediction] = await client.classify(["seven.png"])
            async for result in client.stream(paths):
                ...

    Pictures are read in a thread, so that the loop goes on meanwhile; what gives them, if it is a generator, runs there
    too.
    """

    _api: ClassVar[Any] = grpc.aio

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection. Closing again does no harm."""
        if self._owns_channel:
            await self._channel.close()

    async def classify(self, pictures: Iterable[Picture]) -> list[Prediction]:
        """Classify pictures, in their order. Raises InvalidImage and NoDigit as Client.classify does."""
        return [result.expect() async for result in self.stream(pictures, patience=0)]

    async def stream(
        self, pictures: Iterable[Picture], *, processes: int = 1, patience: float = PATIENCE
    ) -> AsyncGenerator[Result, None]:
        """Classify any number of pictures in bounded memory, as Client.stream does."""
        flights: deque[Flight] = deque()
        source = batches(pictures, processes, self._batch)
        try:
            while batch := await asyncio.to_thread(next, source, None):
                flights.append((batch, asyncio.create_task(self._predict(batch, patience))))
                while flights and (len(flights) == IN_FLIGHT or flights[0][1].done()):
                    for result in await _results(flights.popleft()):
                        yield result
            while flights:
                for result in await _results(flights.popleft()):
                    yield result
        finally:
            for _, task in flights:
                task.cancel()

    async def read(self, picture: Picture) -> Number:
        """Read the digits of a number from left to right, line by line. Raises InvalidImage, and NoDigit."""
        number = await asyncio.to_thread(find_number, picture)
        return replace(number, predictions=tuple(await self.classify([place.pixels for place in number.places])))

    async def benchmark(self, version: int | None = None) -> list[Benchmark]:
        """Fetch the results table that comes with a version. Raises ContractMismatch when it has none."""
        table: list[Benchmark] = []
        for start in range(0, MOST_ROWS, ROWS):
            rows = await self._ask(self._peer.rows(start, version))
            table += rows
            if len(rows) < ROWS:
                break
        return table

    async def status(self) -> list[VersionStatus]:
        """Tell the state of each version of the model that the server knows, the newest first."""
        return await self._ask(self._peer.status())

    async def wait_until_ready(self, timeout: float = 30.0) -> VersionStatus:
        """Wait until a version is AVAILABLE and give it. Raises the last failure after `timeout` seconds."""
        wait = Wait(self._peer, timeout)
        while True:
            with wait.forgiving():
                if version := available(await self._ask(self._peer.status(), timeout=wait.look(self.timeout))):
                    return version
            await asyncio.sleep(wait.pause())

    def _connect(self, security: Security) -> Any:
        """Connect, where there is a loop: grpc.aio would take another one than asyncio.run, and fail at every call."""
        try:
            asyncio.get_running_loop()
        except RuntimeError as error:
            raise UsageError("an AsyncClient belongs to its event loop: make it inside a coroutine") from error
        return super()._connect(security)

    async def _predict(self, batch: Batch, patience: float) -> list[Prediction]:
        if not batch.images:
            return []
        if not self._checked:
            await self._ask(self._peer.signature())
            self._checked = True
        return await self._ask(self._peer.predict(batch.images), patience)

    async def _ask(self, question: Question[Answer], patience: float = 0, timeout: float | None = None) -> Answer:
        return await ask(self._channel, question, self._peer, self._budget(patience, timeout))


async def _results(flight: Flight) -> list[Result]:
    batch, task = flight
    return list(results(batch, await task))
