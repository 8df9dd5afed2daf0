"""The dataplane behind TensorFlow Serving's gRPC methods: decode, call, encode, and errors to status codes."""

from collections.abc import Callable
from typing import Any

import grpc

from client.contract import MODEL_SERVICE, PREDICTION_SERVICE
from client.proto.serving_pb2 import GetModelMetadataRequest, GetModelStatusRequest, PredictRequest
from serving.dataplane import Dataplane
from serving.errors import ServingError, truncated
from serving.monitor import Monitor

NOT_OFFERED = {
    "Classify": "Classify takes tf.Example records, which the digit models do not read. Call Predict.",
    "Regress": "Regress takes tf.Example records, which the digit models do not read. Call Predict.",
    "MultiInference": "MultiInference takes tf.Example records, which the digit models do not read. Call Predict.",
}


def handlers(dataplane: Dataplane, monitor: Monitor) -> list[grpc.GenericRpcHandler]:
    """Make the handlers of PredictionService and ModelService, under TensorFlow Serving's full method names."""

    def handler(method: str, answer: Callable[[Any], Any], request_type: type[Any]) -> Any:
        return _handler(monitor.watched("GRPC", method, answer), request_type)

    prediction = {
        "Predict": handler("Predict", dataplane.predict, PredictRequest),
        "GetModelMetadata": handler("GetModelMetadata", dataplane.get_model_metadata, GetModelMetadataRequest),
    } | {method: _refusal(reason) for method, reason in NOT_OFFERED.items()}
    model = {"GetModelStatus": handler("GetModelStatus", dataplane.get_model_status, GetModelStatusRequest)}
    return [
        grpc.method_handlers_generic_handler(PREDICTION_SERVICE, prediction),
        grpc.method_handlers_generic_handler(MODEL_SERVICE, model),
    ]


def _handler(answer: Callable[[Any], Any], request_type: type[Any]) -> "grpc.RpcMethodHandler[Any, Any]":
    def handle(request: Any, context: grpc.ServicerContext) -> Any:
        if not context.is_active():  # its deadline passed while it waited for a thread: spare the work
            context.abort(grpc.StatusCode.CANCELLED, "the caller has left")
        try:
            return answer(request)
        except ServingError as error:
            context.abort(grpc.StatusCode[error.status], truncated(str(error)))

    return grpc.unary_unary_rpc_method_handler(
        handle,
        request_deserializer=request_type.FromString,
        response_serializer=lambda response: response.SerializeToString(),
    )


def _refusal(reason: str) -> "grpc.RpcMethodHandler[Any, Any]":
    def refuse(request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, reason)

    return grpc.unary_unary_rpc_method_handler(refuse)
