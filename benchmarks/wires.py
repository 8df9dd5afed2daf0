"""How servers are asked: what a request and an answer are on the wire, for h2load and for a check of the answers."""

import http.client
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import grpc
import numpy as np

from client.contract import IMAGES, PROBABILITIES
from client.proto.serving_pb2 import ModelSpec, PredictRequest, PredictResponse
from client.questions import PREDICT
from client.tensors import Array, pack_content, unpack

TIMEOUT_SECONDS = 10


@dataclass(frozen=True)
class Wire:
    """A path, whether gRPC or HTTP/1.1 is spoken there, uint8 [n, 28, 28] → body, and answer → float32 [n, 10]."""

    path: str
    is_grpc: bool
    encode: Callable[[Array], bytes]
    decode: Callable[[bytes], Array]

    def call(self, address: str, body: bytes) -> bytes:
        """Ask once, on a connection of its own. Raises grpc.RpcError or OSError."""
        if self.is_grpc:
            with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                return channel.unary_unary(self.path)(body, timeout=TIMEOUT_SECONDS)
        with closing(http.client.HTTPConnection(address, timeout=TIMEOUT_SECONDS)) as connection:
            connection.request("POST", self.path, body)
            return connection.getresponse().read()


def predict(model: str) -> Wire:
    """TensorFlow Serving's Predict."""
    return Wire(PREDICT, True, partial(predict_request, model), _predict_probabilities)


def predict_request(model: str, images: Array) -> bytes:
    request = PredictRequest(model_spec=ModelSpec(name=model), inputs={IMAGES: pack_content(images)})
    return request.SerializeToString()


def _predict_probabilities(answer: bytes) -> Array:
    return unpack(PredictResponse.FromString(answer).outputs[PROBABILITIES])


@cache
def _infer() -> Any:
    return grpc.protos("benchmarks/peers/infer.proto")


def _infer_request(images: Array) -> bytes:
    tensor = _infer().Tensor(name=IMAGES, datatype="UINT8", shape=images.shape)
    request = _infer().ModelInferRequest(model_name="digits", inputs=[tensor], raw_input_contents=[images.tobytes()])
    return request.SerializeToString()


def _infer_probabilities(answer: bytes) -> Array:
    response = _infer().ModelInferResponse.FromString(answer)
    if response.raw_output_contents:
        return _raw_probabilities(response.raw_output_contents[0])
    return np.array(response.outputs[0].contents.fp32_contents, np.float32).reshape(-1, 10)


def _raw_probabilities(answer: bytes) -> Array:
    return np.frombuffer(answer, np.float32).reshape(-1, 10)


INFER = Wire("/inference.GRPCInferenceService/ModelInfer", True, _infer_request, _infer_probabilities)
"""KServe's protocol, version 2."""
RAW = Wire("/predict", False, lambda images: images.tobytes(), _raw_probabilities)
"""Plain HTTP: bytes in, bytes out."""
