"""The dataplane behind TensorFlow Serving's gRPC methods: decode, call, encode, and errors to status codes."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from client.contract import MODEL_SERVICE, PREDICTION_SERVICE
from client.proto.config_pb2 import ReloadConfigRequest
from client.proto.serving_pb2 import GetModelMetadataRequest, GetModelStatusRequest, PredictRequest
from serving.dataplane import Dataplane
from serving.errors import ServingError, gone, truncated, unreadable
from serving.monitor import Monitor
from serving.reader import Reader

NOT_OFFERED = {
    method: f"{method} takes tf.Example records, which the digit models do not read. Call Predict."
    for method in ("Classify", "Regress", "MultiInference")
}
RELOAD = "HandleReloadConfigRequest"
ONE_OF_SEVERAL = (
    f"{RELOAD} would reach only one of the processes that serve here. Change the file of --config, which all of them "
    "follow, or serve with --processes 1."
)


def handlers(dataplane: Dataplane, monitor: Monitor, reader: Reader, *, alone: bool) -> list[grpc.GenericRpcHandler]:
    """Make the handlers of PredictionService and ModelService, under TensorFlow Serving's full method names.

    Only a server that is `alone` takes a reload.
    """
    metadata, status = dataplane.get_model_metadata, dataplane.get_model_status
    prediction = {
        "Predict": _predict_handler(dataplane, monitor, reader),
        "GetModelMetadata": _handler(monitor.watched("GRPC", "GetModelMetadata", metadata), GetModelMetadataRequest),
    } | {method: _refusal(reason) for method, reason in NOT_OFFERED.items()}
    reload_config = monitor.watched("GRPC", RELOAD, dataplane.reload_config)
    model = {
        "GetModelStatus": _handler(monitor.watched("GRPC", "GetModelStatus", status), GetModelStatusRequest),
        RELOAD: _timed_handler(reload_config, ReloadConfigRequest) if alone else _refusal(ONE_OF_SEVERAL),
    }
    return [
        grpc.method_handlers_generic_handler(PREDICTION_SERVICE, prediction),
        grpc.method_handlers_generic_handler(MODEL_SERVICE, model),
    ]


def _predict_handler(dataplane: Dataplane, monitor: Monitor, reader: Reader) -> "grpc.RpcMethodHandler[Any, Any]":
    """Handle Predict as a stream of one message, which is the same on the wire: refusing does not wait for it."""

    def predict(request: PredictRequest, messages: Iterator[bytes], context: grpc.ServicerContext) -> Any:
        def read() -> None:
            _parse(reader.read(messages, context), request)

        return dataplane.predict(request, context.time_remaining(), read=read, wanted=context.is_active)

    watched = monitor.watched("GRPC", "Predict", predict)

    def handle(messages: Iterator[bytes], context: grpc.ServicerContext) -> Any:
        return _answered(lambda: watched(PredictRequest(), messages, context), context)

    return grpc.stream_unary_rpc_method_handler(handle, None, lambda response: response.SerializeToString())


def _parse(message: bytes, request: PredictRequest) -> None:
    try:
        request.ParseFromString(message)
    except DecodeError:
        raise unreadable() from None


def _handler(answer: Callable[[Any], Any], request_type: type[Any]) -> "grpc.RpcMethodHandler[Any, Any]":
    return _timed_handler(lambda request, seconds_left: answer(request), request_type)


def _timed_handler(
    answer: Callable[[Any, float | None], Any], request_type: type[Any]
) -> "grpc.RpcMethodHandler[Any, Any]":
    def handle(request: Any, context: grpc.ServicerContext) -> Any:
        return _answered(lambda: answer(request, context.time_remaining()), context)

    return grpc.unary_unary_rpc_method_handler(
        handle, request_type.FromString, lambda response: response.SerializeToString()
    )


def _answered(answer: Callable[[], Any], context: grpc.ServicerContext) -> Any:
    try:
        if not context.is_active():  # its deadline passed while it waited for a thread: spare the work
            raise gone()
        return answer()
    except ServingError as error:
        context.abort(grpc.StatusCode[error.status], truncated(str(error)))


def _refusal(reason: str) -> "grpc.RpcMethodHandler[Any, Any]":
    def refuse(request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, reason)

    return grpc.unary_unary_rpc_method_handler(refuse)
