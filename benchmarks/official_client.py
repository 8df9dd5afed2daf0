"""The usual client of TensorFlow Serving: official stubs, TensorFlow's codec, one image a request.

    python -m benchmarks.official_client ADDRESS FILE...

Prints a digit a line, and at last on stderr the images/s without the start. Only benchmarks/client.py uses it.
"""

import sys
import time

import grpc
import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub


def main() -> None:
    stub = PredictionServiceStub(grpc.insecure_channel(sys.argv[1]))
    started = time.perf_counter()
    for path in sys.argv[2:]:
        request = PredictRequest()
        request.model_spec.name = "digits"
        request.inputs["images"].CopyFrom(tf.make_tensor_proto(np.asarray(Image.open(path))[None]))
        response = stub.Predict(request, timeout=30)
        print(tf.make_ndarray(response.outputs["digit"])[0])
    print(len(sys.argv[2:]) / (time.perf_counter() - started), file=sys.stderr)


if __name__ == "__main__":
    main()
