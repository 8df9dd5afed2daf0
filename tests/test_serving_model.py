"""A loaded version: LiteRT and TensorFlow's session answer alike, and what cannot answer does not load."""

import shutil
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from client.contract import BENCHMARK_SIGNATURE, IMAGES, ROW, SERVING_SIGNATURE
from client.proto.serving_pb2 import PredictionLog, PredictRequest
from client.tensors import pack_content, pack_values
from serving import versions
from serving.errors import ServingError
from serving.litert import Turns
from serving.model import Model, read_warmup


def request(array: np.ndarray, signature: str = SERVING_SIGNATURE) -> PredictRequest:
    name = IMAGES if signature == SERVING_SIGNATURE else ROW
    made = PredictRequest(inputs={name: pack_content(array)})
    made.model_spec.signature_name = signature
    return made


@pytest.fixture(scope="module")
def litert(model_root: Path) -> Model:
    return Model(model_root / "digits" / "1")


@pytest.fixture
def version(model_root: Path, tmp_path: Path) -> Path:
    """A copy of digits/1 to change."""
    return Path(shutil.copytree(model_root / "digits" / "1", tmp_path / "digits" / "1"))


@pytest.fixture(scope="module")
def session(model_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The same version without its LiteRT file."""
    directory = tmp_path_factory.mktemp("session") / "1"
    shutil.copytree(model_root / "digits" / "1", directory)
    (directory / versions.LITERT_FILE).unlink()
    return Model(directory)


def test_an_exported_version_is_served_with_litert(litert: Model) -> None:
    assert (litert.engine, litert.fallback_reason) == ("LiteRT", "")


def test_a_version_without_litert_file_is_served_with_tensorflow(session: Model) -> None:
    assert (session.engine, session.fallback_reason) == ("TensorFlow", "it has no LiteRT file")


def test_both_engines_read_the_same_digits(litert: Model, session: Model, mnist_test) -> None:
    asked = request(mnist_test[0][:1001])
    (_, ours), (_, reference) = litert.predict(asked), session.predict(asked)
    assert ours.keys() == reference.keys() == {"probabilities", "digit"}
    np.testing.assert_array_equal(ours["digit"], reference["digit"])
    np.testing.assert_allclose(ours["probabilities"], reference["probabilities"], atol=1e-5)
    assert {name: array.dtype for name, array in ours.items()} == {n: a.dtype for n, a in reference.items()}


def test_both_engines_give_the_same_benchmark_rows(litert: Model, session: Model) -> None:
    asked = request(np.array([0, 1, 2, 99, -1], np.int32), BENCHMARK_SIGNATURE)
    (_, ours), (_, reference) = litert.predict(asked), session.predict(asked)
    assert {n: pack_values(a) for n, a in ours.items()} == {n: pack_values(a) for n, a in reference.items()}
    assert ours["model"].tolist() == ["A", "B", "", "", ""]


@pytest.mark.parametrize("count", [1, 7, 8, 9, 31, 32, 33, 73])
def test_the_split_into_fixed_batches_keeps_every_image_in_its_place(litert: Model, mnist_test, count: int) -> None:
    images = mnist_test[0][:count]
    one_by_one = [litert.predict(request(image[np.newaxis]))[1]["probabilities"][0] for image in images]
    together = litert.predict(request(images))[1]["probabilities"]
    np.testing.assert_allclose(together, one_by_one, atol=1e-6)


def test_concurrent_calls_do_not_mix(litert: Model, mnist_test) -> None:
    images = mnist_test[0][:512]
    expected = litert.predict(request(images))[1]["digit"]
    batches = [images[start : start + 4] for start in range(0, 512, 4)]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda batch: litert.predict(request(batch))[1]["digit"], batches))
    np.testing.assert_array_equal(np.concatenate(answers), expected)


def test_nobody_who_waits_is_passed_by_one_who_has_just_had_a_turn() -> None:
    turns, holders = Turns(["interpreter"]), []

    def take_turns(name: int) -> None:
        while len(holders) < 400:
            with turns.next():
                holders.append(name)
                time.sleep(0.001)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(take_turns, range(4)))
    settled = holders[100:400]
    assert set(settled) == {0, 1, 2, 3}
    assert [before for before, after in pairwise(settled) if before == after] == []


def test_a_turn_that_ends_in_an_error_is_passed_on() -> None:
    turns = Turns(["interpreter"])
    for _ in range(2):
        with pytest.raises(KeyError), turns.next() as item:
            raise KeyError(item)


def test_a_litert_file_of_another_savedmodel_is_not_used(version: Path, model_root: Path) -> None:
    other = model_root / ("A" if versions.read_json(version / versions.BENCHMARK_FILE)["model"] == "B" else "B") / "1"
    for name in (versions.LITERT_FILE, versions.LITERT_BINDING_FILE):
        shutil.copy(other / name, version / name)
    model = Model(version)
    assert (model.engine, model.fallback_reason) == ("TensorFlow", "its LiteRT file does not belong to its SavedModel")


def test_a_damaged_litert_file_is_not_used(version: Path) -> None:
    content = (version / versions.LITERT_FILE).read_bytes()
    (version / versions.LITERT_FILE).write_bytes(content[: len(content) // 2])
    assert Model(version).engine == "TensorFlow"


def test_without_savedmodel_a_version_does_not_load(version: Path) -> None:
    (version / versions.GRAPH_FILE).unlink()
    with pytest.raises(ServingError) as caught:
        Model(version)
    assert (caught.value.status, str(caught.value)) == (
        "NOT_FOUND",
        "Specified file path does not appear to contain a SavedModel bundle (should have a file called "
        f"`saved_model.pb`)\nSpecified file path: {version}",
    )


def test_a_cut_savedmodel_does_not_load(version: Path) -> None:
    content = (version / versions.GRAPH_FILE).read_bytes()
    (version / versions.GRAPH_FILE).write_bytes(content[: len(content) // 2])
    with pytest.raises(ServingError, match=r"saved_model.pb is not a SavedModel, or was cut short"):
        Model(version)


def test_a_failing_warmup_record_fails_the_load(version: Path) -> None:
    record = PredictionLog()
    record.predict_log.request.CopyFrom(request(np.zeros((1, 29, 29), np.uint8)))
    content = record.SerializeToString()
    framed = struct.pack("<Q4x", len(content)) + content + bytes(4)
    with (version / versions.WARMUP_FILE).open("ab") as file:
        file.write(framed)
    with pytest.raises(ServingError, match=r"Shape of tensor images \[1,29,29\] is not compatible") as caught:
        Model(version)
    assert caught.value.status == "INVALID_ARGUMENT"


def test_a_warmup_file_that_is_cut_fails_the_load(version: Path) -> None:
    content = (version / versions.WARMUP_FILE).read_bytes()
    (version / versions.WARMUP_FILE).write_bytes(content[:-1])
    with pytest.raises(ServingError, match="is not a TFRecord of requests, or was cut short") as caught:
        Model(version)
    assert caught.value.status == "DATA_LOSS"


def test_the_warmup_file_asks_each_signature_once(model_root: Path) -> None:
    requests = list(read_warmup(model_root / "digits" / "1" / versions.WARMUP_FILE))
    assert [asked.model_spec.signature_name for asked in requests] == [SERVING_SIGNATURE, BENCHMARK_SIGNATURE]
