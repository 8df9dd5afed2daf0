"""Export a finished run as a version that TensorFlow Serving and the embedded server can really run.

`keras.export.ExportArchive` and nothing else: a model saved by `tf.saved_model.save` loads in TensorFlow Serving,
takes over the traffic, and then fails every request (seen with Keras 3). Each signature starts with
`tf.ensure_shape`: the server checks no shapes, and a wrong rank would abort its whole process.
"""

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.export import ExportArchive

from client import contract
from client.errors import DigitsError
from serving import versions
from training import card, data, folder, layers, results
from training.device import configure
from training.evaluate import answer

CHECKED_IMAGES = 1_000
_DTYPES = (tf.string, tf.string, tf.float32, tf.float32, tf.bool)  # of contract.BENCHMARK_FIELDS


def export(run_dir: Path, rows: list[results.Result], models: Path, data_path: Path | None = None) -> Path:
    """Publish a run as the next version of its letter, with a table of all rows in which its own is marked served.

    Raises DigitsError when the exported files, loaded in a fresh process, answer differently from Keras.
    """
    configure("cpu")
    model = layers.load(run_dir / "model.keras")
    mnist = data.load(data_path)
    own = results.read(run_dir)
    rows = [dataclasses.replace(row, served=row.run == own.run) for row in rows]
    with versions.staging(models / own.model) as directory:
        write_saved_model(model, rows, directory)
        _write_extra(model, rows, run_dir, mnist, directory)
        check(model, mnist.x_val[:CHECKED_IMAGES], directory)
        return versions.publish(directory)


def write_saved_model(model: keras.Model, rows: list[results.Result], directory: Path) -> None:
    """Write saved_model.pb and variables/ with the signatures `serving_default` and `benchmark`."""

    def serve(images: Any) -> dict[str, Any]:
        probabilities = answer(model, tf.ensure_shape(images, [None, contract.IMAGE_SIZE, contract.IMAGE_SIZE]))
        return {contract.PROBABILITIES: probabilities, contract.DIGIT: tf.argmax(probabilities, axis=-1)}

    def benchmark(row: Any) -> dict[str, Any]:
        row = tf.ensure_shape(row, [None])
        inside = (row >= 0) & (row < len(rows))
        return {name: tf.gather(column, tf.where(inside, row, len(rows))) for name, column in _columns(rows).items()}

    archive = ExportArchive()
    archive.track(model)
    archive.add_endpoint(contract.SERVING_SIGNATURE, serve, [_image_spec(contract.IMAGES)])
    archive.add_endpoint(contract.BENCHMARK_SIGNATURE, benchmark, [tf.TensorSpec([None], tf.int32, contract.ROW)])
    archive.write_out(str(directory), verbose=False)


def _image_spec(name: str) -> tf.TensorSpec:
    return tf.TensorSpec([None, contract.IMAGE_SIZE, contract.IMAGE_SIZE], tf.uint8, name)


def _columns(rows: list[results.Result]) -> dict[str, Any]:
    """Give the table by column, with an empty row after the last, which stands for every row past the end."""
    empty = ("", "", 0.0, 0.0, False)
    cells = [*([getattr(row, name) for name in contract.BENCHMARK_FIELDS] for row in rows), empty]
    columns = zip(contract.BENCHMARK_FIELDS, zip(*cells, strict=True), _DTYPES, strict=True)
    return {name: tf.constant(column, dtype) for name, column, dtype in columns}


def _write_extra(
    model: keras.Model, rows: list[results.Result], run_dir: Path, mnist: data.Mnist, directory: Path
) -> None:
    (directory / versions.EXTRA).mkdir()
    content = _describe(rows, run_dir)
    versions.write_json(directory / versions.BENCHMARK_FILE, content)
    shutil.copy(run_dir / results.EVALUATION, directory / versions.EVALUATION_FILE)
    evaluation = versions.read_json(directory / versions.EVALUATION_FILE)
    card.write(directory, content, evaluation, mnist.unseen)
    write_litert(model, directory)
    write_warmup(mnist.x_val[:1], directory / versions.WARMUP_FILE)


def _describe(rows: list[results.Result], run_dir: Path) -> dict[str, Any]:
    own = next(row for row in rows if row.served)
    return {
        "run": own.run,
        "model": own.model,
        **json.loads((run_dir / folder.CONFIG).read_text()),
        "data_sha256": data.SHA256,
        "versions": {name: package_version(name) for name in ("tensorflow", "keras", "numpy", "ai-edge-litert")},
        "results": [dataclasses.asdict(row) for row in rows],
    }


def write_litert(model: keras.Model, directory: Path) -> None:
    """Write model.tflite, float32, and the binding to its SavedModel.

    Converted from the frozen function: `from_saved_model` gave a 15 kB file without weights. uint8 [n, 28, 28] →
    probabilities float32 [n, 10].
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    function = tf.function(lambda images: answer(model, images))
    frozen = convert_variables_to_constants_v2(function.get_concrete_function(_image_spec(contract.IMAGES)))
    converted = tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert()
    (directory / versions.LITERT_FILE).write_bytes(converted)
    binding = {
        "saved_model_sha256": versions.fingerprint(directory),
        "tflite_sha256": hashlib.sha256(converted).hexdigest(),
    }
    versions.write_json(directory / versions.LITERT_BINDING_FILE, binding)


def write_warmup(image: data.Array, path: Path) -> None:
    """Write one request per signature: a fast first answer, and the C++ server refuses a version that fails them."""
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    inputs = {
        contract.SERVING_SIGNATURE: (contract.IMAGES, image),
        contract.BENCHMARK_SIGNATURE: (contract.ROW, np.zeros(1, np.int32)),
    }
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, (name, array) in inputs.items():
            log = PredictionLog()
            log.predict_log.request.model_spec.name = contract.MODEL
            log.predict_log.request.model_spec.signature_name = signature
            log.predict_log.request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
            writer.write(log.SerializeToString())


def check(model: keras.Model, images: data.Array, directory: Path) -> None:
    """Compare the exported files with Keras in a fresh process, where nothing but the files can answer."""
    with tempfile.NamedTemporaryFile(suffix=".npz") as reference:
        np.savez(reference, images=images, probabilities=answer(model, tf.constant(images)))
        reference.flush()
        # -P and our own path: a folder `training` where the user works must not stand for this package
        command = [sys.executable, "-P", "-m", "training.verify", str(directory), reference.name]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "CUDA_VISIBLE_DEVICES": "-1"}
        finished = subprocess.run(command, capture_output=True, text=True, env=environment)
    if finished.returncode:
        reason = (finished.stderr.strip() or "no reason given").splitlines()[-1]
        raise DigitsError(
            f"{directory.parent}: the exported version failed its check: {reason}. Nothing was published."
        )
