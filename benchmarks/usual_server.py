"""The usual hand-written Predict server: grpc.server, official stubs, the SavedModel's function, TensorFlow's codec.

    python -m benchmarks.usual_server VERSION_DIR [PORT]

What many projects run instead of TensorFlow Serving; prints its address. Used by benchmarks/serving.py and client.py.
"""

import sys
from concurrent import futures

import grpc
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)


class UsualService(PredictionServiceServicer):
    """Predict with `serving_default`, without any check."""

    def __init__(self, version_dir: str) -> None:
        self._model = tf.saved_model.load(version_dir)

    def Predict(self, request: PredictRequest, context: grpc.ServicerContext) -> PredictResponse:
        """Decode, call the function, encode."""
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        response = PredictResponse()
        for name, tensor in self._model.signatures["serving_default"](**inputs).items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(tensor))
        return response


def main() -> None:
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=10))
    add_PredictionServiceServicer_to_server(UsualService(sys.argv[1]), server)
    port = server.add_insecure_port(f"127.0.0.1:{sys.argv[2] if len(sys.argv) > 2 else 0}")
    server.start()
    print(f"listening on 127.0.0.1:{port}", file=sys.stderr, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
