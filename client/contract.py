"""The serving contract: the names, shapes and ports that training exports, serving hosts and the client calls.

Standard library only, so that every other module may import it.
"""

from typing import Final

MODEL: Final = "digits"
"""The served model; each trained architecture is servable too, under its letter."""

IMAGE_SIZE: Final = 28
"""Images are uint8 [n, 28, 28]: 0 is paper, 255 is ink."""
CLASSES: Final = 10

SERVING_SIGNATURE: Final = "serving_default"
IMAGES: Final = "images"
"""Input of `serving_default`: uint8 [-1, 28, 28]."""
PROBABILITIES: Final = "probabilities"
"""Output of `serving_default`: float32 [-1, 10]."""
DIGIT: Final = "digit"
"""Output of `serving_default`: int64 [-1], the most probable class."""

BENCHMARK_SIGNATURE: Final = "benchmark"
ROW: Final = "row"
"""Input of `benchmark`: int32 [-1], which rows of the results table to return."""
BENCHMARK_FIELDS: Final = ("model", "description", "loss", "accuracy", "served")
"""Outputs of `benchmark`, each [-1]: string, string, float32, float32, bool. A row past the end has an empty model."""

GRPC_PORT: Final = 8500
REST_PORT: Final = 8501
DEFAULT_SERVER: Final = f"127.0.0.1:{GRPC_PORT}"

PREDICTION_SERVICE: Final = "tensorflow.serving.PredictionService"
MODEL_SERVICE: Final = "tensorflow.serving.ModelService"
SIGNATURE_DEF_MAP_TYPE_URL: Final = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
