"""A question sent over gRPC, waited for or awaited, sent again where that helps; its failure in our own words."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic

import grpc

from client.console import shown
from client.errors import NO_VERSION, REASONS, STATUSES, TOO_LARGE, TOO_LARGE_WORDS, ServerError, UsageError
from client.patience import Budget
from client.questions import RESPONSES, Answer, Peer, Question


class Call(Generic[Answer]):
    """A question under way on a `grpc.Channel`."""

    def __init__(self, channel: grpc.Channel, question: Question[Answer], peer: Peer, budget: Budget) -> None:
        self._question, self._peer, self._budget = question, peer, budget
        self._method = _method(channel, question)
        self._future = self._sent()

    def done(self) -> bool:
        """Tell whether `result` would not wait, except to try again."""
        return bool(self._future.done())

    def result(self) -> Answer:
        """Wait for the answer. Raises the ServerError of the status once the budget is spent, or UsageError."""
        while True:
            try:
                return self._question.read(self._future.result())
            except grpc.RpcError as error:
                pause = None if is_too_large(error) else self._budget.pause(error.code().name)
                if pause is None:
                    raise translate(error, self._peer, self._question.version, self._budget.timeout) from error
            time.sleep(pause)
            self._future = self._sent()

    def cancel(self) -> None:
        """Give the call up."""
        self._future.cancel()

    def _sent(self) -> Any:
        with _open(self._peer):
            return self._method.future(self._question.request, timeout=self._budget.attempt())


async def ask(channel: grpc.aio.Channel, question: Question[Answer], peer: Peer, budget: Budget) -> Answer:
    """Await the answer on a `grpc.aio.Channel`. Raises what Call.result does."""
    method = _method(channel, question)
    while True:
        with _open(peer):
            call = method(question.request, timeout=budget.attempt())
        try:
            return question.read(await _response(call))
        except grpc.aio.AioRpcError as error:
            pause = None if is_too_large(error) else budget.pause(error.code().name)
            if pause is None:
                raise translate(error, peer, question.version, budget.timeout) from error
        await asyncio.sleep(pause)


async def _response(call: Any) -> Any:
    """Await a call. One whose channel is closed fails as grpc's do: grpc.aio's ends a task that nobody cancelled."""
    try:
        return await call
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        empty = grpc.aio.Metadata()
        raise grpc.aio.AioRpcError(grpc.StatusCode.CANCELLED, empty, empty, "Channel closed!") from None


@contextmanager
def _open(peer: Peer) -> Iterator[None]:
    """Put into our words that a channel is closed, which grpc and grpc.aio say in their own each."""
    try:
        yield
    except (ValueError, grpc.aio.UsageError) as error:
        raise UsageError(f"the client of {peer.server} is closed. Make another, or close it later") from error


def _method(channel: Any, question: Question[Answer]) -> Any:
    return channel.unary_unary(
        question.method, lambda message: message.SerializeToString(), RESPONSES[question.method].FromString
    )


def is_too_large(error: Any) -> bool:
    """Tell whether a request is more than a server ever takes, of images or of bytes, though it may look busy."""
    details = error.details() or ""
    return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and any(words in details for words in TOO_LARGE_WORDS)


def translate(error: Any, peer: Peer, version: int | None, timeout: float) -> ServerError:
    """Put a `grpc.RpcError` into our words: the class and the message of its status, with the server's details."""
    status, details = error.code().name, (error.details() or "no details").strip()
    kind, message = TOO_LARGE if is_too_large(error) else STATUSES[status]
    if status == "NOT_FOUND" and version is not None:
        kind, message = NO_VERSION
    last = details.rsplit(": ", 1)[-1].rstrip("]")  # gRPC tells its whole way to "Connection refused (111)"
    reason = next((ours for theirs, ours in REASONS.items() if theirs in details), last)
    values = {"server": peer.server, "model": peer.model, "version": version, "timeout": timeout}
    options = f"--model {shown(peer.model)} --server {shown(peer.server)}"
    return kind(message.format(details=details, reason=reason, options=options, **values), status)
