"""Ray Serve with its gRPC proxy and TensorFlow Serving's own service, one replica.

python -m benchmarks.peers.ray_server VERSION_DIR PORT
"""

import signal
import sys

import tensorflow as tf
from ray import serve
from ray.serve.config import gRPCOptions
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

ADD = "tensorflow_serving.apis.prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server"


@serve.deployment(max_ongoing_requests=100)
class Digits:
    """Predict with `serving_default`."""

    def __init__(self, version_dir: str) -> None:
        from benchmarks.peers.saved_model import load

        self._classify = load(version_dir)

    def Predict(self, request: PredictRequest) -> PredictResponse:
        """Decode, call the model, encode."""
        response = PredictResponse()
        probabilities = self._classify(tf.make_ndarray(request.inputs["images"]))
        response.outputs["probabilities"].CopyFrom(tf.make_tensor_proto(probabilities))
        return response


serve.start(
    grpc_options=gRPCOptions(port=int(sys.argv[2]), grpc_servicer_functions=[ADD]),
    http_options={"host": "127.0.0.1", "port": int(sys.argv[2]) + 1},
)
serve.run(Digits.bind(sys.argv[1]))
signal.sigwait([signal.SIGTERM, signal.SIGINT])
serve.shutdown()
