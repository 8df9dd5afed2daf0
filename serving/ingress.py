"""What runs in Ray Serve's gRPC proxies: TensorFlow Serving's methods, handed on to the replicas.

A request costs Ray some milliseconds of processor time on its way to a replica, more than the network's answer. So
requests that come while others are under way wait for these and then travel together; nothing waits for a timer.
"""

import asyncio
import os
import pickle
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from grpc_reflection.v1alpha.reflection import SERVICE_NAME

from client.contract import MODEL_SERVICE, PREDICTION_SERVICE
from serving import reflection
from serving.errors import ServingError, truncated
from serving.grpc_api import NOT_OFFERED

ANSWERED = (
    f"/{PREDICTION_SERVICE}/Predict",
    f"/{PREDICTION_SERVICE}/GetModelMetadata",
    f"/{MODEL_SERVICE}/GetModelStatus",
    f"/{reflection.HEALTH_SERVICE}/Check",
)
"""The methods that replicas answer."""
REFUSED = {f"/{PREDICTION_SERVICE}/{method}": reason for method, reason in NOT_OFFERED.items()} | {
    f"/{MODEL_SERVICE}/HandleReloadConfigRequest": "A request reaches one replica of many. Change the file that "
    "--config names, or publish under the model root: every replica follows."
}
APPLICATION = "digits"
CARRIER = "/digits.Replica/answer"
"""The method that Ray knows, by which the others travel: the last part is the replica's method."""
MOST_UNDER_WAY = 2 * (os.cpu_count() or 1)
"""Ray calls of a proxy at a time: enough to keep its node busy. What comes beyond them travels together."""
MOST_TOGETHER, MOST_BYTES = 64, 1 << 20
"""Requests and bytes in one Ray call; a larger request travels alone."""
MOST_WAITING = 1024
TRIES, PAUSE_SECONDS = 5, 0.2
"""A call whose replica or node dies goes to another one: all methods only read."""

Call = tuple[str, bytes, float | None]
"""Method, message, and the seconds for which its caller waits; None for ever."""
Answer = tuple[str, bytes | str]
"""Status name, and the response or, where that is not OK, the text."""


def register(_: Any, server: Any) -> None:
    """Add the services to Ray's proxy; this is what `grpc_servicer_functions` names."""
    server.add_generic_rpc_handlers((Ingress(),))
    server.add_passthrough_service(SERVICE_NAME)  # answered here, from our own descriptors
    reflection.enable(server)


class Ingress(grpc.GenericRpcHandler):
    """Looks up the methods. Ray puts its own function, which calls a replica, into `_method_handlers`."""

    def __init__(self) -> None:
        unset: Any = grpc.unary_unary_rpc_method_handler(lambda message, context: None)
        self._method_handlers: dict[str, Any] = {CARRIER: unset}
        self._batches = Batches(self._carry)

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Give the handler of a method; CARRIER is not for callers."""
        method = details.method
        if method in REFUSED:
            return grpc.unary_unary_rpc_method_handler(_refusal(REFUSED[method]))
        return grpc.unary_unary_rpc_method_handler(self._handler(method)) if method in ANSWERED else None

    def _handler(self, method: str) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def handle(message: bytes, context: Any) -> bytes:
            seconds_left = context.time_remaining()
            until = None if seconds_left is None else time.monotonic() + seconds_left
            try:
                return await self._batches.answer(Waiting(method, message, until))
            except ServingError as error:
                await context.abort(grpc.StatusCode[error.status], truncated(str(error)))
                raise

        return handle

    async def _carry(self, calls: list[Call]) -> list[Answer]:
        """Have a replica answer; another one when it dies meanwhile. Raises UNAVAILABLE, and RESOURCE_EXHAUSTED."""
        for attempt in range(TRIES):
            await asyncio.sleep(attempt * PAUSE_SECONDS)
            context = CarrierContext()
            content = await self._method_handlers[CARRIER].unary_unary(calls, context)
            if context.status is grpc.StatusCode.OK:
                answers: list[Answer] = pickle.loads(content)
                return answers
            if context.status is grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise ServingError("RESOURCE_EXHAUSTED", context.text)
        raise ServingError("UNAVAILABLE", f"No replica answers: {context.text.strip().splitlines()[-1]}")


def _refusal(reason: str) -> Callable[[bytes, Any], Awaitable[None]]:
    async def refuse(message: bytes, context: Any) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, reason)

    return refuse


@dataclass(eq=False)
class Waiting:
    """A request that waits for its answer; nobody does after `until` (time.monotonic)."""

    method: str
    message: bytes
    until: float | None
    answer: "asyncio.Future[bytes]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def call(self) -> Call:
        """Give what travels: clocks of other machines are other ones, so the time that is left."""
        return self.method, self.message, None if self.until is None else self.until - time.monotonic()

    def resolve(self, status: str, content: Any) -> None:
        """Give the answer to whoever still waits."""
        if self.answer.done():
            return
        if status == "OK":
            self.answer.set_result(content)
        else:
            self.answer.set_exception(ServingError(status, content))


class Batches:
    """Sends requests at once while few calls are under way, and together when more come. For one event loop."""

    def __init__(self, carry: Callable[[list[Call]], Awaitable[list[Answer]]]) -> None:
        self._carry = carry
        self._waiting: deque[Waiting] = deque()
        self._under_way: set[asyncio.Task[None]] = set()

    async def answer(self, request: Waiting) -> bytes:
        """Wait for the response to a request. Raises ServingError."""
        if len(self._waiting) >= MOST_WAITING:
            raise ServingError("RESOURCE_EXHAUSTED", f"{MOST_WAITING} requests are waiting at this proxy already")
        self._waiting.append(request)
        self._send()
        return await request.answer

    def _send(self) -> None:
        while self._waiting and len(self._under_way) < MOST_UNDER_WAY:
            if batch := self._take():
                task = asyncio.create_task(self._exchange(batch))
                self._under_way.add(task)
                task.add_done_callback(self._landed)

    def _take(self) -> list[Waiting]:
        """Take requests, as many as may travel together, without those whose callers have left."""
        batch: list[Waiting] = []
        size = 0
        while self._waiting and len(batch) < MOST_TOGETHER:
            size += len(self._waiting[0].message)
            if batch and size > MOST_BYTES:
                break
            request = self._waiting.popleft()
            if not request.answer.done():
                batch.append(request)
        return batch

    async def _exchange(self, batch: list[Waiting]) -> None:
        try:
            answers = await self._carry([request.call() for request in batch])
        except ServingError as error:
            answers = [(error.status, str(error))] * len(batch)
        except Exception as error:  # nobody may be left waiting, whatever Ray raises
            answers = [("UNAVAILABLE", f"No replica answers: {type(error).__name__}")] * len(batch)
        for request, answer in zip(batch, answers, strict=True):
            request.resolve(*answer)

    def _landed(self, task: "asyncio.Task[None]") -> None:
        self._under_way.discard(task)
        self._send()


class CarrierContext:
    """What Ray's handler reads of a call and writes to it, for a call that stands for several."""

    status, text = grpc.StatusCode.OK, ""

    def set_code(self, code: grpc.StatusCode) -> None:
        """Take the status that Ray or a replica gives."""
        self.status = code

    def set_details(self, details: str) -> None:
        """Take its text."""
        self.text = details

    def code(self) -> None:
        """Nothing: so Ray sets it."""

    details = auth_context = peer_identities = peer_identity_key = code

    def peer(self) -> str:
        """Nobody in particular."""
        return ""

    def invocation_metadata(self) -> tuple[tuple[str, str]]:
        """What tells Ray for which of its applications this is; the callers' own stay behind."""
        return (("application", APPLICATION),)

    def trailing_metadata(self) -> tuple[()]:
        """None."""
        return ()

    def set_trailing_metadata(self, metadata: Any) -> None:
        """Drop Ray's request id, which nobody of several callers could use."""
