"""The messages of gRPC calls: a caller who sends none holds a thread, and is waited for only so long."""

import threading
import time
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from serving.errors import ServingError, invalid

Handler = Any
"""grpc.RpcMethodHandler."""


class Reader(grpc.ServerInterceptor):
    """Reads the messages of calls, and cancels a call whose message does not come within so many seconds.

    As an interceptor it makes the one message of a call the first of a stream, which is the same on the wire: gRPC
    itself waits without end. Of 104 threads as many silent calls would leave none for anybody.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: dict[grpc.ServicerContext, float] = {}
        self._talks: set[grpc.ServicerContext] = set()
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
        """Give the next message. Raises INVALID_ARGUMENT without one, CANCELLED when the call is over."""
        self._waiting[context] = time.monotonic() + self._seconds
        try:
            return next(messages)
        except StopIteration:
            raise invalid("The call holds no message.") from None
        except grpc.RpcError:
            raise ServingError("CANCELLED", "the caller has left") from None
        finally:
            del self._waiting[context]

    def leave(self) -> None:
        """End the conversations, which would hold up the stop."""
        for context in list(self._talks):
            context.cancel()

    def _watch(self, handler: Handler) -> Callable[..., Any]:
        @wraps(handler.unary_stream)  # by whose attributes gRPC takes its thread back at once, if it can send without
        def watch(messages: Iterator[bytes], context: grpc.ServicerContext, *send: Any) -> Any:
            return handler.unary_stream(self._message(messages, context, handler), context, *send)

        return watch

    def _message(self, messages: Iterator[bytes], context: grpc.ServicerContext, handler: Handler) -> Any:
        try:
            message = self.read(messages, context)
            return handler.request_deserializer(message) if handler.request_deserializer else message
        except ServingError as error:
            context.abort(grpc.StatusCode[error.status], str(error))
        except DecodeError:
            context.abort(grpc.StatusCode.INTERNAL, "Exception deserializing request!")  # gRPC's own words

    def _talk(self, messages: Iterator[bytes], context: grpc.ServicerContext, handler: Handler) -> Iterator[Any]:
        self._talks.add(context)
        context.add_callback(lambda: self._talks.discard(context))
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
