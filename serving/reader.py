"""The messages of gRPC calls: a caller who sends none holds a thread, and is waited for only so long."""

import threading
import time
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from serving.errors import ServingError, gone, invalid, unreadable

Handler = Any
"""grpc.RpcMethodHandler."""

LARGE_BYTES = 1 << 20
"""A message of 1,300 images; its answer, of 50 kB, is nearly as large as what a client takes before it has read any."""
LINGER_SECONDS = 1.0
"""How long a connection stays open after the answer to a large message."""


class Reader(grpc.ServerInterceptor):
    """Reads the messages of calls, and cancels a call whose message does not come within so many seconds.

    As an interceptor it makes the one message of a call the first of a stream, which is the same on the wire: gRPC
    itself waits without end. Of 104 threads as many silent calls would leave none for anybody.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: dict[grpc.ServicerContext, float] = {}
        self._talks: set[grpc.ServicerContext] = set()
        self._large: set[grpc.ServicerContext] = set()
        self._leaving = False
        threading.Thread(target=self._sweep, name="slow callers", daemon=True).start()

    def intercept_service(self, continuation: Callable[[Any], Handler], handler_call_details: Any) -> Handler:
        """Read the messages of a call for its handler; one that takes a stream and gives one answer reads by itself."""
        handler = continuation(handler_call_details)
        if handler is None or handler.stream_unary:
            return handler
        if handler.unary_stream:
            return grpc.stream_stream_rpc_method_handler(self._watch(handler), None, handler.response_serializer)
        if handler.unary_unary:
            return grpc.stream_unary_rpc_method_handler(
                lambda messages, context: handler.unary_unary(self._message(messages, context, handler), context),
                None,
                handler.response_serializer,
            )
        return grpc.stream_stream_rpc_method_handler(
            lambda messages, context: handler.stream_stream(self._talk(messages, context, handler), context),
            None,
            handler.response_serializer,
        )

    def read(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        """Give the next message. Raises INVALID_ARGUMENT without one, CANCELLED when the call is over.

        UNAVAILABLE for a large one that begins when the server leaves.
        """
        late = self._leaving
        self._waiting[context] = time.monotonic() + self._seconds
        try:
            message = next(messages)
            if len(message) >= LARGE_BYTES:
                self._admit_large(context, late)
            return message
        except StopIteration:
            raise invalid("The call holds no message.") from None
        except grpc.RpcError:
            raise gone() from None
        finally:
            del self._waiting[context]

    def _admit_large(self, context: grpc.ServicerContext, late: bool) -> None:
        if late:
            raise ServingError("UNAVAILABLE", "the server is stopping: ask again, another one if there is")
        keep(context, self._large)

    def leave(self, seconds: float) -> None:
        """End the conversations, which would hold up the stop, and wait for the large calls, so many seconds at most.

        A server of gRPC that stops closes each connection when the system has taken the last answer. If the client then
        says how much of it it has read, as it does for each 32 kB or so, the connection is reset, and the rest is lost:
        1 of 100 answers of 400 kB, 7 of 1.2 MB.
        """
        self._leaving, end = True, time.monotonic() + seconds
        for context in list(self._talks):
            context.cancel()
        begun, linger_seconds = set(self._waiting), 0.0
        while (self._large or begun & set(self._waiting)) and time.monotonic() < end:
            if self._large:
                linger_seconds = LINGER_SECONDS
            time.sleep(0.01)
        time.sleep(max(0, min(linger_seconds, end - time.monotonic())))

    def _watch(self, handler: Handler) -> Callable[..., Any]:
        @wraps(handler.unary_stream)  # by whose attributes gRPC takes its thread back at once, if it can send without
        def watch(messages: Iterator[bytes], context: grpc.ServicerContext, *send: Any) -> Any:
            return handler.unary_stream(self._message(messages, context, handler), context, *send)

        return watch

    def _message(self, messages: Iterator[bytes], context: grpc.ServicerContext, handler: Handler) -> Any:
        try:
            message = self.read(messages, context)
            return handler.request_deserializer(message) if handler.request_deserializer else message
        except (ServingError, DecodeError) as error:
            told = error if isinstance(error, ServingError) else unreadable()
            context.abort(grpc.StatusCode[told.status], str(told))

    def _talk(self, messages: Iterator[bytes], context: grpc.ServicerContext, handler: Handler) -> Iterator[Any]:
        keep(context, self._talks)
        while context.is_active():
            try:
                message = self.read(messages, context)
            except ServingError:
                return
            yield handler.request_deserializer(message)

    def _sweep(self) -> None:
        while True:
            time.sleep(self._seconds / 10)
            for context, end in list(self._waiting.items()):
                if end < time.monotonic():
                    context.cancel()


def keep(context: grpc.ServicerContext, contexts: set[grpc.ServicerContext]) -> None:
    """Keep a call among others until it is over, which it may be already: it is cancelled before a thread is free."""
    contexts.add(context)
    if not context.add_callback(lambda: contexts.discard(context)):
        contexts.discard(context)
