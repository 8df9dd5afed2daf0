"""The dataplane behind TensorFlow Serving's gRPC methods: decode, call, encode, and errors to status codes."""

import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from client.contract import MODEL_SERVICE, PREDICTION_SERVICE
from client.proto.config_pb2 import ReloadConfigRequest
from client.proto.serving_pb2 import GetModelMetadataRequest, GetModelStatusRequest, PredictRequest
from serving.dataplane import Dataplane
from serving.errors import ServingError, invalid, truncated

NOT_OFFERED = {
    "Classify": "Classify takes tf.Example records, which the digit models do not read. Call Predict.",
    "Regress": "Regress takes tf.Example records, which the digit models do not read. Call Predict.",
    "MultiInference": "MultiInference takes tf.Example records, which the digit models do not read. Call Predict.",
}


def handlers(dataplane: Dataplane, read_seconds: float) -> list[grpc.GenericRpcHandler]:
    """Make the handlers of PredictionService and ModelService, under TensorFlow Serving's full method names.

    A Predict whose message does not come within `read_seconds` is cancelled.
    """
    prediction = {
        "Predict": _predict_handler(dataplane, Reader(read_seconds)),
        "GetModelMetadata": _handler(dataplane.get_model_metadata, GetModelMetadataRequest),
    } | {method: _refusal(reason) for method, reason in NOT_OFFERED.items()}
    model = {
        "GetModelStatus": _handler(dataplane.get_model_status, GetModelStatusRequest),
        "HandleReloadConfigRequest": _timed_handler(dataplane.reload_config, ReloadConfigRequest),
    }
    return [
        grpc.method_handlers_generic_handler(PREDICTION_SERVICE, prediction),
        grpc.method_handlers_generic_handler(MODEL_SERVICE, model),
    ]


class Reader:
    """Reads the one message of a call; ends calls whose message does not come, because each holds a thread."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: dict[grpc.ServicerContext, float] = {}
        threading.Thread(target=self._sweep, name="slow callers", daemon=True).start()

    def read(self, messages: Iterator[Any], context: grpc.ServicerContext) -> Any:
        """Give the message. Raises INVALID_ARGUMENT without one, grpc.RpcError when the call is over."""
        self._waiting[context] = time.monotonic() + self._seconds
        try:
            return next(messages)
        except StopIteration:
            raise invalid("The call holds no message.") from None
        finally:
            del self._waiting[context]

    def _sweep(self) -> None:
        while True:
            time.sleep(self._seconds / 10)
            for context, end in list(self._waiting.items()):
                if end < time.monotonic():
                    context.cancel()


def _predict_handler(dataplane: Dataplane, reader: Reader) -> "grpc.RpcMethodHandler[Any, Any]":
    """Handle Predict as a stream of one message, which is the same on the wire: refusing does not wait for it."""

    def handle(messages: Iterator[PredictRequest], context: grpc.ServicerContext) -> Any:
        def answer() -> Any:
            return dataplane.predict_read(lambda: reader.read(messages, context), context.time_remaining())

        return _answered(answer, context)

    return grpc.stream_unary_rpc_method_handler(handle, PredictRequest.FromString, _serialized)


def _handler(answer: Callable[[Any], Any], request_type: type[Any]) -> "grpc.RpcMethodHandler[Any, Any]":
    return _timed_handler(lambda request, seconds_left: answer(request), request_type)


def _timed_handler(
    answer: Callable[[Any, float | None], Any], request_type: type[Any]
) -> "grpc.RpcMethodHandler[Any, Any]":
    def handle(request: Any, context: grpc.ServicerContext) -> Any:
        return _answered(lambda: answer(request, context.time_remaining()), context)

    return grpc.unary_unary_rpc_method_handler(handle, request_type.FromString, _serialized)


def _answered(answer: Callable[[], Any], context: grpc.ServicerContext) -> Any:
    if not context.is_active():  # its deadline passed while it waited for a thread: spare the work
        context.abort(grpc.StatusCode.CANCELLED, "the caller has left")
    try:
        return answer()
    except ServingError as error:
        context.abort(grpc.StatusCode[error.status], truncated(str(error)))
    except grpc.RpcError:  # the call ended before its message came: there is nobody to tell
        raise
    except Exception as error:  # a fault of ours: the caller learns little, the operator everything
        traceback.print_exc(file=sys.stderr)
        context.abort(grpc.StatusCode.INTERNAL, f"Fault in the server: {type(error).__name__}. See its log.")


def _serialized(response: Any) -> bytes:
    content: bytes = response.SerializeToString()
    return content


def _refusal(reason: str) -> "grpc.RpcMethodHandler[Any, Any]":
    def refuse(request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, reason)

    return grpc.unary_unary_rpc_method_handler(refuse)
