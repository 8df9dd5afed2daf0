"""Check an exported version as its servers will load it: `python -m training.verify VERSION_DIR REFERENCE.npz`.

TensorFlow Serving restores a SavedModel into a TF 1 session and runs tensors by name; what `tf.saved_model.load` says
of it proves nothing. The embedded server runs model.tflite. Both must agree with Keras on real images.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.config_pb2 import CallableOptions

from client import contract
from serving import versions

TOLERANCE = 1e-5


class Session:
    """A SavedModel as TensorFlow Serving has it: the v1 loader, tag `serve`, and raw runs that check no shapes."""

    def __init__(self, directory: Path) -> None:
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            self.signatures = tf.compat.v1.saved_model.load(self.session, ["serve"], str(directory)).signature_def

    def run(self, signature: str, value: Any) -> dict[str, Any]:
        """Feed the one input of a signature; give its outputs by alias. Raises tf.errors.InvalidArgumentError."""
        definition = self.signatures[signature]
        feed = [info.name for info in definition.inputs.values()]
        fetch = [info.name for info in definition.outputs.values()]
        call = self.session._make_callable_from_options(CallableOptions(feed=feed, fetch=fetch))
        return dict(zip(definition.outputs, call(value), strict=True))


def check_session(directory: Path, images: Any, expected: Any) -> None:
    """Run both signatures, and a shape that only tf.ensure_shape refuses: without it this process aborts here."""
    session = Session(directory)
    answer = session.run(contract.SERVING_SIGNATURE, images)
    _compare("the SavedModel", answer[contract.PROBABILITIES], expected)
    if not np.array_equal(answer[contract.DIGIT], expected.argmax(axis=1)):
        raise SystemExit("the SavedModel answers other digits than Keras")
    table = session.run(contract.BENCHMARK_SIGNATURE, np.arange(-1, 100, dtype=np.int32))
    if table["served"].sum() != 1 or table["model"][0] or table["model"][-1]:
        raise SystemExit("the benchmark signature does not mark one model as served, or has rows past its ends")
    for signature, value in ((contract.SERVING_SIGNATURE, images[0]), (contract.BENCHMARK_SIGNATURE, np.int32(0))):
        try:
            session.run(signature, value)
        except tf.errors.InvalidArgumentError:
            continue
        raise SystemExit(f"{signature} accepts a wrong rank")


def check_litert(directory: Path, images: Any, expected: Any) -> None:
    """Run model.tflite on all images at once."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(directory / versions.LITERT_FILE), num_threads=1)
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
    interpreter.invoke()
    _compare("model.tflite", interpreter.get_tensor(interpreter.get_output_details()[0]["index"]), expected)


def _compare(what: str, probabilities: Any, expected: Any) -> None:
    if not np.array_equal(probabilities.argmax(axis=1), expected.argmax(axis=1)):
        raise SystemExit(f"{what} answers other digits than Keras")
    difference = float(np.abs(probabilities - expected).max())
    if not difference <= TOLERANCE:  # a NaN fails too
        raise SystemExit(f"{what} differs from Keras by {difference:.1e} in probability, more than {TOLERANCE:.0e}")


def main() -> None:
    """Compare; a difference ends in one line on stderr and exit code 1."""
    directory = Path(sys.argv[1])
    with np.load(sys.argv[2]) as reference:
        images, expected = reference["images"], reference["probabilities"]
    check_litert(directory, images, expected)
    check_session(directory, images, expected)


if __name__ == "__main__":
    main()
