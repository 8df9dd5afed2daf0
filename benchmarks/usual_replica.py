"""The usual Predict on Ray Serve: Ray's documented way, official stubs, the SavedModel's function, TensorFlow's codec.

Used by benchmarks/cluster.py and peers/ray_server.py.
"""

from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray import serve

REGISTER = "tensorflow_serving.apis.prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server"

PATIENCE = {"RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60", "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "30"}
"""On a busy machine a proxy takes more than Ray's five seconds to start, and would be started again and again."""


class UsualReplica:
    """Predict with `serving_default`, without any check."""

    def __init__(self, version_dir: str) -> None:
        import tensorflow as tf

        self._tf = tf
        self._model = tf.saved_model.load(version_dir)

    def Predict(self, request: Any) -> Any:
        """Decode, call the function, encode."""
        from tensorflow_serving.apis.predict_pb2 import PredictResponse

        inputs = {name: self._tf.constant(self._tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        response = PredictResponse()
        for name, tensor in self._model.signatures["serving_default"](**inputs).items():
            response.outputs[name].CopyFrom(self._tf.make_tensor_proto(tensor))
        return response


@contextmanager
def deployed(version_dir: Path, port: int, http_port: int) -> Any:
    """Serve one replica while the block lasts."""
    try:
        serve.start(
            http_options={"host": "127.0.0.1", "port": http_port},
            grpc_options={"port": port, "grpc_servicer_functions": [REGISTER]},
            controller_options={"runtime_env": {"env_vars": PATIENCE}},
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )
        options = {"ray_actor_options": {"num_cpus": 1}, "max_ongoing_requests": 100}
        serve.run(serve.deployment(UsualReplica, **options).bind(str(version_dir)))
        yield port
    finally:
        serve.shutdown()
