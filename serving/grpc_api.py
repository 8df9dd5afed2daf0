"""The dataplane behind TensorFlow Serving's gRPC methods: decode, call, encode, and errors to status codes."""

import sys
import traceback
from collections.abc import Callable
from typing import Any

import grpc

from client.contract import MODEL_SERVICE, PREDICTION_SERVICE
from client.proto.config_pb2 import ReloadConfigRequest
from client.proto.serving_pb2 import GetModelMetadataRequest, GetModelStatusRequest, PredictRequest
from serving.dataplane import Dataplane
from serving.errors import ServingError, truncated

NOT_OFFERED = {
    "Classify": "Classify takes tf.Example records, which the digit models do not read. Call Predict.",
    "Regress": "Regress takes tf.Example records, which the digit models do not read. Call Predict.",
    "MultiInference": "MultiInference takes tf.Example records, which the digit models do not read. Call Predict.",
}


def handlers(dataplane: Dataplane) -> list[grpc.GenericRpcHandler]:
    """Make the handlers of PredictionService and ModelService, under TensorFlow Serving's full method names."""
    prediction = {
        "Predict": _timed_handler(dataplane.predict, PredictRequest),
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


def _handler(answer: Callable[[Any], Any], request_type: type[Any]) -> "grpc.RpcMethodHandler[Any, Any]":
    return _timed_handler(lambda request, seconds_left: answer(request), request_type)


def _timed_handler(
    answer: Callable[[Any, float | None], Any], request_type: type[Any]
) -> "grpc.RpcMethodHandler[Any, Any]":
    def handle(request: Any, context: grpc.ServicerContext) -> Any:
        if not context.is_active():  # its deadline passed while it waited for a thread: spare the work
            context.abort(grpc.StatusCode.CANCELLED, "the caller has left")
        try:
            return answer(request, context.time_remaining())
        except ServingError as error:
            context.abort(grpc.StatusCode[error.status], truncated(str(error)))
        except Exception as error:  # a fault of ours: the caller learns little, the operator everything
            traceback.print_exc(file=sys.stderr)
            context.abort(grpc.StatusCode.INTERNAL, f"Fault in the server: {type(error).__name__}. See its log.")

    return grpc.unary_unary_rpc_method_handler(
        handle,
        request_deserializer=request_type.FromString,
        response_serializer=lambda response: response.SerializeToString(),
    )


def _refusal(reason: str) -> "grpc.RpcMethodHandler[Any, Any]":
    def refuse(request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, reason)

    return grpc.unary_unary_rpc_method_handler(refuse)
