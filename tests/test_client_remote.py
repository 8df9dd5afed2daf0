"""The clients in an app, against the real server, and against a small one that answers as it is told."""

import asyncio
import io
import json
import math
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

import client
from client import AsyncClient, Client, ContractMismatch, InvalidImage, Prediction, batches, contract, errors
from client.answers import INPUTS, OUTPUTS
from client.proto import serving_pb2 as messages
from client.proto.tensor_pb2 import DataType, TensorInfo
from client.questions import METADATA, PREDICT, STATUS
from client.tensors import pack_content, pack_values, unpack

ONE = np.zeros((28, 28), np.uint8)


class Awaited:
    """AsyncClient with the awaiting done here, so that every fact about Client is tested of both."""

    def __init__(self, *arguments, **options):
        async def make():
            return AsyncClient(*arguments, **options)

        self._loop = asyncio.Runner()
        self._client = self._loop.run(make())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self._loop:
            self._loop.run(self._client.close())

    def __getattr__(self, name):
        value = getattr(self._client, name)
        return (lambda *given, **named: self._loop.run(value(*given, **named))) if callable(value) else value

    def stream(self, *given, **named):
        async def collect():
            return [result async for result in self._client.stream(*given, **named)]

        return self._loop.run(collect())


@pytest.fixture(params=[Client, Awaited], ids=["Client", "AsyncClient"])
def opened(request):
    """The class of client to test."""
    return request.param


@pytest.fixture
def connected(served, opened):
    with opened(served, timeout=30) as connected:
        yield connected


def test_arrays_are_classified_as_they_are(connected, mnist_test):
    images, labels = mnist_test
    predictions = connected.classify(images[:1000])  # four requests
    assert np.mean([one.digit for one in predictions] == labels[:1000]) > 0.9
    for one in predictions:
        ranking = sorted(range(10), key=one.probabilities.__getitem__, reverse=True)
        assert [one.digit, one.runner_up] == ranking[:2]
        assert one.probability == one.probabilities[one.digit]
        assert one.runner_up_probability == one.probabilities[one.runner_up]
        assert sum(one.probabilities) == pytest.approx(1, abs=1e-5)
        assert (one.model, one.model_version) == ("digits", 1)


def test_files_and_pillow_images_are_prepared_first(connected, mnist_test, tmp_path):
    image = mnist_test[0][0]
    picture = Image.fromarray(255 - image)
    picture.save(tmp_path / "seven.png")
    from_file, as_text, from_picture, as_array = connected.classify(
        [tmp_path / "seven.png", str(tmp_path / "seven.png"), picture, image]
    )
    assert from_file == as_text == from_picture
    assert from_file.digit == as_array.digit == 7


@pytest.mark.parametrize(
    ("array", "form"),
    [(np.zeros((28, 28)), "float64 [28, 28]"), (np.zeros((1, 28, 28), np.uint8), "uint8 [1, 28, 28]")],
)
def test_another_array_is_no_image(connected, array, form):
    with pytest.raises(InvalidImage) as caught:
        connected.classify([array])
    assert str(caught.value) == f"an array of {form}. Give uint8 [28, 28], 255 = ink"


@pytest.mark.parametrize(
    ("array", "form"),
    [
        (np.zeros((28, 28), np.int64), "int64 [28, 28]"),
        (np.zeros((28, 28, 1), np.uint8), "uint8 [28, 28, 1]"),
        (np.array(7, np.uint8), "uint8 []"),
    ],
)
def test_an_array_that_is_no_picture_holds_no_number(connected, array, form):
    with pytest.raises(InvalidImage) as caught:
        connected.read(array)
    assert str(caught.value) == f"an array of {form}. Give uint8 [height, width] or [height, width, 3]"


@pytest.mark.parametrize("pictures", [b"\x89PNG", "seven.png", Path("seven.png"), Image.new("L", (9, 9))])
def test_one_picture_without_a_list_around_it_is_a_type_error(connected, pictures):
    with pytest.raises(TypeError, match="pictures come as a list"):
        connected.classify(pictures)


@pytest.mark.parametrize("picture", [7, None, bytearray(b"\x89PNG"), [1, 2]])
def test_what_is_no_picture_is_a_type_error(connected, picture):
    with pytest.raises(TypeError, match="a picture is a path, bytes, a Pillow image or an array, not "):
        connected.classify([picture])


def test_one_client_serves_many_threads(served, mnist_test):
    parts = np.split(mnist_test[0][:2000], 20)
    with Client(served, timeout=30) as shared, ThreadPoolExecutor(8) as threads:
        together = [one for part in threads.map(shared.classify, parts) for one in part]
        alone = shared.classify(mnist_test[0][:2000])
    assert [one.digit for one in together] == [one.digit for one in alone]


def test_the_results_table_comes_with_the_served_version(connected):
    table = connected.benchmark()
    assert [row.model for row in table] == ["A", "B"]
    assert sum(row.served for row in table) == 1
    assert all(0.5 < row.accuracy <= 1 and row.loss > 0 and row.description for row in table)
    assert connected.benchmark(version=1) == table


def test_the_status_names_the_versions(connected):
    assert connected.status() == [client.VersionStatus(1, "AVAILABLE", "")]
    assert connected.wait_until_ready(5).version == 1


def test_an_architecture_and_a_version_can_be_asked_for(served, opened):
    with opened(served, model="A", version=1) as one:
        [prediction] = one.classify([ONE])
        assert (prediction.model, prediction.model_version) == ("A", 1)


@pytest.mark.parametrize("asked", [{"model": "nobody"}, {"version": 99}])
def test_a_model_or_version_that_is_not_served_is_model_not_found(served, opened, asked):
    with opened(served, **asked) as one:
        for call in (lambda: one.classify([ONE]), one.benchmark, one.status, lambda: one.wait_until_ready(0.2)):
            with pytest.raises(client.ModelNotFound, match=f"{served} does not serve"):
                call()


def test_a_version_that_is_not_served_is_named_as_one(served, connected, opened):
    words = f"^{served} does not serve digits version 99 .+ digits status --model digits --server {served}$"
    with pytest.raises(client.ModelNotFound, match=words):
        connected.benchmark(99)
    with opened(served, version=99) as one, pytest.raises(client.ModelNotFound, match=words):
        one.classify([ONE])


# A server that answers as it is told: what a real one does only when something is wrong.


def metadata(
    inputs: dict[str, str] = INPUTS, outputs: dict[str, str] = OUTPUTS, signature: str = "serving_default"
) -> messages.GetModelMetadataResponse:
    def info(form: str) -> TensorInfo:
        dtype, _, sizes = form.partition(" ")
        made = TensorInfo(dtype=DataType.Value(f"DT_{dtype.upper()}"))
        for size in sizes.strip("[]").split(","):
            made.tensor_shape.dim.add(size=int(size))
        return made

    signatures = messages.SignatureDefMap()
    for forms, side in (
        (inputs, signatures.signature_def[signature].inputs),
        (outputs, signatures.signature_def[signature].outputs),
    ):
        for name, form in forms.items():
            side[name].CopyFrom(info(form))
    response = messages.GetModelMetadataResponse()
    response.metadata["signature_def"].value = signatures.SerializeToString()
    response.metadata["signature_def"].type_url = contract.SIGNATURE_DEF_MAP_TYPE_URL
    return response


def sevens(request: messages.PredictRequest, pack: Callable[..., Any] = pack_values) -> messages.PredictResponse:
    count = len(unpack(request.inputs["images"]))
    probabilities = np.full((count, 10), 0.02, np.float32)
    probabilities[:, 7], probabilities[:, 1] = 0.8, 0.04
    response = messages.PredictResponse(model_spec=messages.ModelSpec(name="digits"))
    response.model_spec.version.value = 5
    response.outputs["probabilities"].CopyFrom(pack(probabilities))
    response.outputs["digit"].CopyFrom(pack(np.full(count, 7, np.int64)))
    return response


@dataclass
class Told(grpc.GenericRpcHandler):
    """Answers each method with what is set for it: a response, a function of the request, or a status to fail with."""

    answers: dict[str, Any] = field(default_factory=lambda: {METADATA: metadata(), PREDICT: sevens})
    requests: list[tuple[str, Any]] = field(default_factory=list)
    address: str = ""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def answer(data: bytes, context: grpc.ServicerContext) -> Any:
            request = kinds[details.method].FromString(data)
            self.requests.append((details.method, request))
            reply = self.answers[details.method]
            reply = reply(request) if callable(reply) else reply
            if isinstance(reply, grpc.StatusCode):
                context.abort(reply, "as told")
            return reply

        kinds = {PREDICT: messages.PredictRequest, METADATA: messages.GetModelMetadataRequest}
        kinds |= {STATUS: messages.GetModelStatusRequest}
        return grpc.unary_unary_rpc_method_handler(answer, None, lambda response: response.SerializeToString())

    def sent(self, method: str) -> list[Any]:
        return [request for name, request in self.requests if name == method]


@pytest.fixture
def told():
    handler = Told()
    server = grpc.server(ThreadPoolExecutor(8), handlers=[handler])
    handler.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield handler
    server.stop(None).wait()


@pytest.fixture
def asking(told, opened):
    with opened(told.address) as one:
        yield one


FAILURES = [status for status in grpc.StatusCode if status is not grpc.StatusCode.OK]


def test_every_status_has_its_error():
    assert set(errors.STATUSES) == {status.name for status in FAILURES}
    assert {kind for kind, _ in errors.STATUSES.values()} == set(errors.ServerError.__subclasses__())


@pytest.fixture
def steady(monkeypatch):
    """Pauses of 0.05, 0.1, 0.2 s …, without chance: of 1.5 s the last try, a refused request's fifth, has the half."""
    monkeypatch.setattr(random, "uniform", lambda least, most: (least + most) / 2)


@pytest.mark.parametrize("status", FAILURES)
def test_a_status_is_raised_as_its_error_with_the_address_and_a_next_step(steady, told, opened, status):
    told.answers = {METADATA: status, PREDICT: status, STATUS: status}
    kind, _ = errors.STATUSES[status.name]
    with opened(told.address, timeout=1.5 if kind is client.ServerOverloaded else 60) as one:
        for call in (lambda: one.classify([ONE]), one.benchmark, one.status):
            with pytest.raises(kind) as caught:
                call()
            assert caught.value.status == status.name
            assert isinstance(caught.value.__cause__, grpc.RpcError)
            what, _, next_step = str(caught.value).partition(". ")
            assert told.address in what
            assert next_step
            assert "\n" not in str(caught.value)


def test_the_command_that_shows_the_versions_can_be_copied(told, opened):
    told.answers = {PREDICT: grpc.StatusCode.NOT_FOUND, METADATA: metadata()}
    with opened(told.address, model="my model") as one, pytest.raises(client.ModelNotFound) as caught:
        one.benchmark(9)
    assert str(caught.value) == (
        f"{told.address} does not serve my model version 9 (as told). See its versions with: digits status --model "
        f"'my model' --server {told.address}"
    )


def test_nobody_at_the_address_is_server_unavailable(opened):
    with opened("127.0.0.1:1") as one:
        for call in (lambda: one.classify([ONE]), lambda: one.wait_until_ready(0.2)):
            with pytest.raises(client.ServerUnavailable, match="^no server answers at 127.0.0.1:1 .Connection refused"):
                call()


def test_a_name_that_does_not_resolve_is_server_unavailable():
    with Client("no-such-host.invalid:8500", timeout=3) as one, pytest.raises(errors.ServerError) as caught:
        one.status()
    assert caught.value.exit_code == 3
    assert "no-such-host.invalid:8500" in str(caught.value)
    assert "]" not in str(caught.value)


def test_no_answer_in_time_is_deadline_exceeded(told, opened):
    release = threading.Event()
    told.answers[PREDICT] = lambda request: release.wait(20) and sevens(request)
    with opened(told.address, timeout=0.2) as one, pytest.raises(client.DeadlineExceeded, match="within 0.2 s"):
        one.classify([ONE])
    release.set()


def test_a_refused_request_is_sent_again_until_it_is_taken(told, asking):
    left = iter([grpc.StatusCode.RESOURCE_EXHAUSTED] * 3)
    told.answers[PREDICT] = lambda request: next(left, None) or sevens(request)
    assert [one.digit for one in asking.classify([ONE])] == [7]
    assert len(told.sent(PREDICT)) == 4


@pytest.mark.parametrize("limit", [("--max-images", "100"), ("--max-message-mib", "1")], ids=["images", "bytes"])
def test_a_request_that_is_too_large_is_refused_once_and_smaller_ones_are_answered(launch, opened, limit, monkeypatch):
    monkeypatch.setattr(batches, "LONGEST_WAIT", 60)  # a busy machine would send a part of the 1,500
    server = launch(*limit).endpoints["gRPC"]
    with opened(server, batch=1500, timeout=600) as one, pytest.raises(client.InvalidRequest, match="with --batch"):
        one.classify([ONE] * 1500)
    with opened(server, batch=100) as one:
        assert len(one.classify([ONE] * 1500)) == 1500


def test_an_unavailable_server_is_tried_again_by_grpc(told, asking):
    left = iter([grpc.StatusCode.UNAVAILABLE] * 2)
    told.answers[PREDICT] = lambda request: next(left, None) or sevens(request)
    assert [one.digit for one in asking.classify([ONE])] == [7]


def test_all_tries_together_have_the_time_of_one_request(steady, told, opened):
    told.answers[PREDICT] = grpc.StatusCode.RESOURCE_EXHAUSTED
    with opened(told.address, timeout=1.5) as one:
        started = time.monotonic()
        with pytest.raises(client.ServerOverloaded):
            one.classify([ONE])
    assert len(told.sent(PREDICT)) > 2
    assert time.monotonic() - started < 10  # of one try each would be minutes


RESTARTING = ["UNAVAILABLE", "CANCELLED", "ABORTED", "NOT_FOUND", "RESOURCE_EXHAUSTED"]


@pytest.mark.parametrize("status", RESTARTING)
def test_a_stream_waits_for_a_server_that_restarts_and_does_nothing_twice(told, asking, status):
    left = iter([grpc.StatusCode[status]] * 6)
    told.answers[PREDICT] = lambda request: next(left, None) or sevens(request)
    results = list(asking.stream(np.zeros((600, 28, 28), np.uint8)))
    assert [result.prediction.digit for result in results] == [7] * 600


def test_a_stream_waits_for_a_server_that_falls_silent_and_has_been_asked_already(told, opened):
    release, silent = threading.Event(), iter([True] * 3)
    told.answers[PREDICT] = lambda request: (next(silent, False) and release.wait(20), sevens(request))[1]
    with opened(told.address, timeout=0.5) as one:
        assert [result.prediction.digit for result in one.stream([ONE])] == [7]
    release.set()


def test_a_stream_gives_up_on_a_server_that_stays_away(told, asking):
    told.answers[PREDICT] = grpc.StatusCode.UNAVAILABLE
    with pytest.raises(client.ServerUnavailable):
        list(asking.stream([ONE], patience=0.5))


def test_a_stream_gives_each_picture_its_result_and_goes_on_behind_a_bad_one(told, asking, tmp_path):
    blank, text = tmp_path / "blank.png", tmp_path / "notes.txt"
    Image.new("L", (60, 60), 255).save(blank)
    text.write_text("seven")
    pictures = [ONE, blank, text, b"no image", ONE[0], ONE]
    results = list(asking.stream(pictures))
    assert [result.picture is picture for result, picture in zip(results, pictures, strict=True)] == [True] * 6
    assert [result.prediction is not None for result in results] == [True, False, False, False, False, True]
    assert [type(result.error) for result in results[1:5]] == [client.NoDigit] + [InvalidImage] * 3
    assert str(results[3].error) == "not an image that Pillow can read"
    with pytest.raises(client.NoDigit, match=f"^{blank}: blank"):
        results[1].expect()
    assert len(told.sent(PREDICT)) == 1


def breaking():
    yield from [ONE] * 300
    raise OSError("the camera is gone")


def test_a_source_that_fails_is_told_behind_the_results_of_what_it_gave(told):
    results = []
    with Client(told.address) as one, pytest.raises(OSError, match="camera"):
        for result in one.stream(breaking()):
            results.append(result)
    assert len(results) == 300


def test_a_source_that_fails_is_told_to_those_who_await_it_too(told):
    results = []

    async def collect():
        async with AsyncClient(told.address) as one:
            async for result in one.stream(breaking()):
                results.append(result)

    with pytest.raises(OSError, match="camera"):
        asyncio.run(collect())
    assert len(results) == 300


def test_a_stream_reads_no_further_ahead_than_a_few_batches(told):
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield ONE

    with Client(told.address) as one:
        stream = one.stream(endless())
        for _ in range(1000):
            next(stream)
        assert taken <= 1000 + 6 * 256
        stream.close()


def test_results_and_numbers_can_be_compared_and_kept_in_sets(asking, photo):
    results = list(asking.stream([ONE, ONE]))
    assert len({*results, *results}) == 2
    assert results[0] != results[1]
    number = asking.read(photo)
    assert {number} == {asking.read(photo)}


@pytest.fixture
def photo():
    """The bytes of a JPEG of 2000 by 1500 pixels with a stroke."""
    sheet = Image.new("L", (2000, 1500), 200)
    ImageDraw.Draw(sheet).line((1000, 400, 1000, 1100), fill=0, width=60)
    sheet.save(written := io.BytesIO(), "jpeg")
    return written.getvalue()


def test_a_pillow_image_stays_as_it_is(asking, photo):
    with Image.open(io.BytesIO(photo)) as image:
        asking.classify([image])
        assert image.size == (2000, 1500)


def test_a_frame_that_was_chosen_is_not_called_the_first(asking, photo):
    with Image.open(io.BytesIO(photo)) as image:
        image.save(film := io.BytesIO(), "gif", save_all=True, append_images=[ImageOps.flip(image)])
    with Image.open(film) as frames:
        notes = [asking.classify([frames])[0].notes]
        frames.seek(1)
        notes += [asking.classify([frames])[0].notes]
    assert notes == [("first of 2 frames",), ()]


def test_a_bad_pillow_image_is_an_invalid_image_too(asking, photo):
    pictures = [Image.open(io.BytesIO(photo[:5_000])), Image.new("L", (0, 0)), ONE]
    results = list(asking.stream(pictures))
    assert [type(result.error) for result in results] == [InvalidImage, InvalidImage, type(None)]


READING = """
import sys
from multiprocessing import active_children
from client.batches import outcomes
for _ in outcomes(sys.argv[1:] * 99_999, 2):
    print(len(active_children()), flush=True)
"""


def test_the_processes_that_read_end_when_theirs_is_killed(tmp_path, photo):
    (tmp_path / "photo.jpg").write_bytes(photo)
    command = [sys.executable, "-c", READING, tmp_path / "photo.jpg"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        assert "2\n" in iter(reader.stdout.readline, "")
        reader.kill()
        reader.stdout.read()  # ends with the last process that has it open


def test_a_script_that_its_processes_run_again_is_told_what_it_lacks(tmp_path, photo):
    (tmp_path / "photo.jpg").write_bytes(photo)
    (tmp_path / "script.py").write_text(READING)
    command = [sys.executable, tmp_path / "script.py", tmp_path / "photo.jpg"]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 1
    told = "DigitsError: a process that read images ended. A script of your own needs: if __name__ == '__main__':"
    assert told in finished.stderr


NOWHERE = """
import sys, tempfile
from client.batches import outcomes
tempfile.tempdir = "/nowhere"  # as on a read-only root, where no folder is found
print(sum(1 for _ in outcomes(iter(sys.argv[1:] * 40), 2)))
"""


def test_where_no_process_can_start_all_is_read_in_this_one(tmp_path, photo):
    (tmp_path / "photo.jpg").write_bytes(photo)
    command = [sys.executable, "-c", NOWHERE, tmp_path / "photo.jpg"]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "40\n", "")


def test_slow_pictures_are_read_by_several_processes_in_order(asking, tmp_path):
    for number in range(44):
        sheet = Image.effect_noise((600, 600), 8)
        ImageDraw.Draw(sheet).line((300, 150, 300, 450), fill=0, width=30)
        sheet.save(tmp_path / f"{number}.png", compress_level=0)
    pictures = [tmp_path / f"{number}.png" for number in range(44)] + [tmp_path / "no.png", ONE]
    results = list(asking.stream(pictures, processes=2))
    assert [str(result.picture) for result in results] == [str(picture) for picture in pictures]
    assert [result.error is None for result in results] == [True] * 44 + [False, True]


def test_a_damaged_pillow_image_on_its_way_to_a_process_is_one_bad_result(asking, photo):
    pictures = [*[photo] * 33, Image.open(io.BytesIO(photo[:5_000])), photo]
    results = list(asking.stream(pictures, processes=2))
    assert [type(result.error) for result in results] == [*[type(None)] * 33, InvalidImage, type(None)]


def test_what_the_network_sees_can_be_had_without_a_server(mnist_test):
    with Client("127.0.0.1:1") as one:
        np.testing.assert_array_equal(one.preprocess(Image.fromarray(mnist_test[0][0])), mnist_test[0][0])


def test_no_images_send_nothing(told, asking):
    assert asking.classify([]) == []
    assert asking.classify(iter(())) == []
    assert told.requests == []


def ascending(request):
    response = sevens(request)
    response.outputs["digit"].CopyFrom(pack_values(unpack(request.inputs["images"])[:, 0, 0].astype(np.int64)))
    return response


def test_an_array_may_be_used_again_for_the_next_picture(told, asking):
    def frames():
        buffer = np.zeros((28, 28), np.uint8)
        for number in range(10):
            buffer[0, 0] = number
            yield buffer

    told.answers[PREDICT] = ascending
    assert [one.digit for one in asking.classify(frames())] == list(range(10))


def test_a_request_holds_at_most_256_images_and_the_order_is_kept(told, asking):
    told.answers[PREDICT] = ascending
    images = np.zeros((600, 28, 28), np.uint8)
    images[:, 0, 0] = np.arange(600) % 10
    assert [one.digit for one in asking.classify(images)] == [number % 10 for number in range(600)]
    assert sorted(len(unpack(request.inputs["images"])) for request in told.sent(PREDICT)) == [88, 256, 256]


def test_no_more_requests_are_under_way_than_a_server_on_one_core_takes(told, asking):
    counts, lock, most = [0], threading.Lock(), [0]

    def slow(request):
        with lock:
            counts[0] += 1
            most[0] = max(most[0], counts[0])
        threading.Event().wait(0.02)
        with lock:
            counts[0] -= 1
        return sevens(request)

    told.answers[PREDICT] = slow
    assert len(asking.classify(np.zeros((256 * 12, 28, 28), np.uint8))) == 256 * 12
    assert 2 <= most[0] <= 3


def test_the_contract_is_checked_once(told, asking):
    for _ in range(3):
        asking.classify([ONE])
    assert len(told.sent(METADATA)) == 1


DIFFERENCES = {
    "no signature serving_default": metadata(signature="other"),
    "no input images; wants a further input x": metadata(inputs={"x": "float [-1,784]"}),
    "input images is float [-1,28,28,1] instead of uint8 [-1,28,28]": metadata({"images": "float [-1,28,28,1]"}),
    "wants a further input temperature": metadata(INPUTS | {"temperature": "float [-1]"}),
    "output probabilities is float [-1,1000] instead of float [-1,10]": metadata(
        outputs=OUTPUTS | {"probabilities": "float [-1,1000]"}
    ),
    "no output digit": metadata(outputs={"probabilities": "float [-1,10]"}),
}


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_another_model_is_a_contract_mismatch_that_names_the_difference(told, asking, difference):
    told.answers[METADATA] = DIFFERENCES[difference]
    with pytest.raises(ContractMismatch) as caught:
        asking.classify([ONE])
    expected = f"digits at {told.address} is not a digit model: {difference}. Name another with --model or --server"
    assert str(caught.value) == expected
    assert told.sent(PREDICT) == []


def changed(**outputs):
    def answer(request):
        response = sevens(request)
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(pack_values(value))
        return response

    return answer


@pytest.mark.parametrize(
    ("answer", "difference"),
    [
        (lambda request: messages.PredictResponse(), "no output digit, probabilities"),
        (changed(digit=np.arange(2)), "output digit has shape [2] where [1] was asked for"),
        (changed(digit=np.array([10])), "10 is not a digit"),
        (changed(digit=np.array([7.0])), "output digit is double instead of int64"),
        (changed(probabilities=np.full((1, 10), "0.1")), "output probabilities is string instead of float"),
        (changed(probabilities=np.ones((1, 9), np.float32)), "output probabilities has shape [1, 9] where [1, 10]"),
    ],
)
def test_an_answer_of_another_form_is_a_contract_mismatch(told, asking, answer, difference):
    told.answers[PREDICT] = answer
    with pytest.raises(ContractMismatch) as caught:
        asking.classify([ONE])
    assert difference in str(caught.value)


def test_a_results_table_of_another_form_is_a_contract_mismatch(told, asking):
    response = messages.PredictResponse()
    for name in contract.BENCHMARK_FIELDS:
        response.outputs[name].CopyFrom(pack_values(np.ones(16, np.int32)))
    told.answers[PREDICT] = response
    with pytest.raises(ContractMismatch, match="output model is int32 instead of string"):
        asking.benchmark()


@pytest.mark.parametrize("pack", [pack_values, pack_content])
def test_both_forms_of_tensors_are_understood(told, asking, pack):
    told.answers[PREDICT] = lambda request: sevens(request, pack)
    [one] = asking.classify([ONE])
    rounded = Prediction(
        digit=7,
        probability=pytest.approx(0.8),
        runner_up=1,
        runner_up_probability=pytest.approx(0.04),
        probabilities=pytest.approx((0.02, 0.04, 0.02, 0.02, 0.02, 0.02, 0.02, 0.8, 0.02, 0.02)),
        model="digits",
        model_version=5,
    )
    assert one == rounded


def test_a_table_longer_than_one_request_is_fetched_whole(told, asking):
    def rows(request):
        row = unpack(request.inputs["row"])
        inside = row < 40
        response = messages.PredictResponse()
        response.outputs["model"].CopyFrom(pack_values(np.where(inside, row.astype(str), "")))
        response.outputs["description"].CopyFrom(pack_values(np.where(inside, "net", "")))
        response.outputs["loss"].CopyFrom(pack_values(np.zeros(len(row), np.float32)))
        response.outputs["accuracy"].CopyFrom(pack_values(np.ones(len(row), np.float32)))
        response.outputs["served"].CopyFrom(pack_values(row == 3))
        return response

    told.answers[PREDICT] = rows
    table = asking.benchmark()
    assert [row.model for row in table] == [str(number) for number in range(40)]
    assert [row.model for row in table if row.served] == ["3"]


def test_a_server_without_a_results_table_is_told_and_the_answers_come_all_the_same(told, digits, tmp_path):
    def as_tensorflow_serving(request):
        known = request.model_spec.signature_name == "serving_default"
        return sevens(request) if known else grpc.StatusCode.FAILED_PRECONDITION

    told.answers[PREDICT] = as_tensorflow_serving
    Image.fromarray(stroke()).save(tmp_path / "one.png")
    finished = digits("classify", "one.png", "--server", told.address, "--json", cwd=tmp_path)
    assert finished.returncode == 0
    assert [json.loads(line) for line in finished.stdout.splitlines()][1] == {
        "benchmark": [],
        "model": "digits",
        "model_version": 5,
    }
    assert finished.stderr.startswith("note: the accuracies are not shown: digits at ")
    assert finished.stderr.count("\n") == 1


def stroke():
    image = np.zeros((60, 60), np.uint8)
    image[10:50, 28:33] = 255
    return image


def test_waiting_ends_when_a_version_becomes_available(told, asking):
    State = messages.ModelVersionStatus

    def status(state):
        return messages.GetModelStatusResponse(model_version_status=[State(version=3, state=state)])

    starting = [grpc.StatusCode[name] for name in ("NOT_FOUND", "CANCELLED", "ABORTED")]
    replies = iter([*starting, status(State.LOADING), status(State.LOADING)])
    told.answers[STATUS] = lambda request: next(replies, status(State.AVAILABLE))
    assert asking.wait_until_ready(10) == client.VersionStatus(3, "AVAILABLE", "")


def test_a_version_that_never_gets_ready_ends_the_wait(told, asking):
    failed = messages.ModelVersionStatus(version=3, state="END", status={"error_code": 5, "error_message": "no graph"})
    told.answers[STATUS] = messages.GetModelStatusResponse(model_version_status=[failed])
    assert asking.status() == [client.VersionStatus(3, "END", "no graph")]
    with pytest.raises(client.DeadlineExceeded, match=f"digits at {told.address} is not ready after 0.2 s"):
        asking.wait_until_ready(0.2)


@pytest.mark.parametrize("timeout", [math.nan, math.inf, -1])
def test_a_wait_has_an_end(asking, timeout):
    with pytest.raises(client.UsageError, match=f"^timeout {timeout}: give a number of seconds above 0"):
        asking.wait_until_ready(timeout)


def test_a_silent_server_is_not_waited_for_longer_than_asked(told, opened):
    release = threading.Event()
    told.answers[STATUS] = lambda request: release.wait(60)
    with opened(told.address, timeout=3_600) as one, pytest.raises(client.DeadlineExceeded):
        one.wait_until_ready(0.2)
    release.set()


def test_a_channel_of_ones_own_is_used_and_left_open(told):
    with grpc.insecure_channel(told.address) as channel:
        for _ in range(2):
            with Client("a name for messages", channel=channel) as one:
                assert len(one.classify([ONE])) == 1


def test_closing_twice_does_no_harm(served):
    one = Client(served)
    one.close()
    one.close()
    assert repr(one) == f"Client('{served}', model='digits', version=None)"


def test_an_async_client_outside_a_loop_is_a_usage_error():
    with pytest.raises(client.UsageError, match="make it inside a coroutine"):
        AsyncClient()


def test_a_closed_client_says_that_it_is_closed(told, asking):
    asking.close()
    for call in (lambda: asking.classify([ONE]), asking.benchmark, asking.status, asking.wait_until_ready):
        with pytest.raises(client.UsageError, match=f"^the client of {told.address} is closed. Make another"):
            call()


def test_a_stream_of_a_closed_client_says_so_too(told):
    with Client(told.address) as one:
        stream = one.stream([ONE])
    with pytest.raises(client.UsageError, match="is closed"):
        next(stream)


@pytest.fixture
def silent(told):
    """Tells when the server, which does not answer, has been asked."""
    asked, release = threading.Event(), threading.Event()
    told.answers[STATUS] = lambda request: (asked.set(), release.wait(60))
    yield asked
    release.set()


def test_closing_during_a_call_cancels_the_request_and_not_the_task(told, silent):
    async def close_meanwhile():
        async with AsyncClient(told.address) as one:
            call = asyncio.create_task(one.status())
            await asyncio.to_thread(silent.wait, 60)
        await call

    with pytest.raises(client.RequestCancelled, match=f"^the call to {told.address} was cancelled"):
        asyncio.run(close_meanwhile())


def test_a_task_that_is_cancelled_during_a_call_ends_as_tasks_do(told, silent):
    async def give_up():
        async with AsyncClient(told.address) as one, asyncio.timeout(0.1):
            await one.status()

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())


def test_the_port_may_be_left_out():
    with Client("localhost") as one:
        assert one.server == "localhost:8500"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"server": "http://localhost:8500"}, "server http://localhost:8500: give HOST:PORT without a scheme"),
        ({"server": "h\udcff:8500"}, "server h\udcff:8500: give HOST:PORT"),
        ({"server": None}, "server None: give HOST:PORT"),
        ({"server": 8500}, "server 8500: give HOST:PORT"),
        ({"model": "\udcff"}, "model \udcff: give a name in UTF-8"),
        ({"model": ""}, "model empty: give a name"),
        ({"model": None}, "model empty: give a name"),
        ({"model": 5}, "model 5: give a name"),
        ({"version": 2**63}, "model digits version 9223372036854775808: give .+ as version a number below 2⁶³"),
        ({"version": "1"}, "model digits version '1': give .+ as version a number below 2⁶³"),
        ({"timeout": 0}, "timeout 0: give a number of seconds above 0"),
        ({"timeout": None}, "timeout None: give a number of seconds"),
        ({"timeout": math.nan}, "timeout nan: give a number of seconds"),
        ({"timeout": math.inf}, "timeout inf: give a number of seconds"),
        ({"batch": 0}, "batch 0: give a number of images above 0"),
        ({"batch": None}, "batch None: give a number of images"),
        ({"batch": 2.5}, "batch 2.5: give a number of images"),
        ({"token": 5, "tls": True}, "a token is printable ASCII"),
        ({"channel": object(), "token": "secret"}, "a channel of your own .+ leave out tls, ca, cert, key and token"),
        ({"channel": object(), "tls": True}, "a channel of your own .+ leave out tls, ca, cert, key and token"),
    ],
)
def test_arguments_that_cannot_be_right_are_usage_errors(wrong, told):
    with pytest.raises(client.UsageError, match=f"^{told}"):
        Client(**wrong)


TYPED = """
from contextlib import aclosing, closing
from client import AsyncClient, Client, Clientt

with Client() as one, closing(one.stream(["7.png"])) as results:
    print(next(results).expect().digit)
one.stream([]).close()

async def several() -> None:
    async with AsyncClient() as one, aclosing(one.stream(["7.png"])) as results:
        print([result.error async for result in results])
"""


def test_an_apps_types_are_checked_and_a_wrong_name_is_found(tmp_path):
    (tmp_path / "app.py").write_text(TYPED)
    command = [sys.executable, "-m", "mypy", "--strict", tmp_path / "app.py"]
    finished = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    wrong, _ = finished.stdout.splitlines()
    assert 'app.py:3: error: Module "client" has no attribute "Clientt"' in wrong


def test_the_package_exports_exactly_its_public_names():
    assert client.__all__ == sorted(client.__all__)
    assert set(client.__all__) <= set(dir(client))
    for name in client.__all__:
        assert getattr(client, name) is not None
    raised = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert raised <= set(client.__all__)
    with pytest.raises(AttributeError, match="module 'client' has no attribute 'nothing'"):
        client.nothing  # noqa: B018
