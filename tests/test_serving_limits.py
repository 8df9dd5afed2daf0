"""Every limit refuses at once, with its status and a reason, and the server answers on."""

import gc
import gzip
import http.client
import json
import shutil
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from urllib.request import urlopen

import grpc
import numpy as np
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest

from client.contract import IMAGES
from client.proto.serving_pb2 import ModelSpec, PredictRequest
from client.tensors import pack_content
from serving import limits
from serving.errors import ServingError
from serving.health import Health
from serving.limits import CALM_SECONDS, FEW_IN_FLIGHT, Admission, Backlog, Budget
from serving.model import Model
from serving.reader import Reader


def failure(call: "grpc.Future") -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call.result()
    return caught.value.code().name, caught.value.details()


def test_more_images_than_allowed_are_refused(root: Path, start) -> None:
    server = start(root, "--max-images", "10")
    assert len(server.predict(10).result().outputs["digit"].int64_val) == 10
    assert failure(server.predict(11)) == (
        "RESOURCE_EXHAUSTED",
        "A request of 11 rows; this server takes at most 10. Split it.",
    )


@pytest.mark.parametrize(
    ("option", "seconds"),
    [
        ("--poll-seconds", "inf"),
        ("--drain-seconds", "1e10"),
        ("--read-seconds", "nan"),
        ("--max-wait-seconds", "nan"),
        ("--rest-timeout-seconds", "inf"),
    ],
)
def test_what_nobody_can_wait_for_is_wrong_usage(digits, option: str, seconds: str) -> None:
    finished = digits("serve", "--models", __file__, option, seconds)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr.splitlines()[-1].startswith(f"Error: Invalid value for '{option}': {float(seconds)} is not ")


def test_a_larger_message_than_allowed_is_refused(root: Path, start) -> None:
    server = start(root, "--max-message-mib", "1")
    assert len(server.predict(1300).result().outputs["digit"].int64_val) == 1300
    code, text = failure(server.predict(1400))
    assert code == "RESOURCE_EXHAUSTED"
    assert text.endswith("vs. 1048576)")
    assert server.version() == 1


def test_one_request_more_than_may_be_in_flight_is_refused(root: Path, start) -> None:
    server = start(root, "--max-in-flight", "2")
    calls = [server.predict(5_000) for _ in range(8)]
    outcomes = [call.exception() for call in calls]
    refused = [error for error in outcomes if error]
    assert {(error.code().name, error.details()) for error in refused} == {
        ("RESOURCE_EXHAUSTED", "2 in flight already, as many as this server takes at a time")
    }
    assert 0 < len(refused) < 8
    assert server.version() == 1


def test_a_request_that_would_wait_too_long_for_others_is_refused_and_one_alone_never_is(root: Path, start) -> None:
    server = start(root, "--max-wait-seconds", "0")
    server.version()
    assert len(server.predict(5_000).result().outputs["digit"].int64_val) == 5_000
    errors = [error for error in [call.exception() for call in [server.predict(5_000) for _ in range(8)]] if error]
    assert 0 < len(errors) < 8
    assert {error.code().name for error in errors} == {"RESOURCE_EXHAUSTED"}
    assert "5000 rows come first, about " in errors[0].details()
    assert errors[0].details().endswith(" s; this server lets a request of 5000 wait for 0 s")
    assert server.version() == 1


def test_status_and_health_answer_while_no_predict_is_let_in(root: Path, start) -> None:
    server = start(root, "--max-in-flight", "1")
    busy = server.predict(30_000)
    assert server.healthy()
    assert server.states() == [(1, "AVAILABLE", 0)]
    assert len(busy.result().outputs["digit"].int64_val) == 30_000


def test_a_request_one_too_many_is_refused_before_its_message_comes(root: Path, start, wait_until) -> None:
    server = start(root, "--max-in-flight", "1")
    leave = [server.endless_call(reached=False)]

    def is_full() -> object:
        if server.endless[-1].done():  # it came while the predict below was in, and was refused itself
            leave.append(server.endless_call(reached=False))
        return server.predict().exception()

    wait_until(is_full)
    for call in (server.predict(), server.predict(5_000)):
        assert failure(call) == (
            "RESOURCE_EXHAUSTED",
            "1 in flight already, as many as this server takes at a time",
        )
    assert server.healthy()
    for event in leave:
        event.set()
    wait_until(lambda: not server.predict().exception())


@pytest.mark.parametrize(
    "method",
    [
        "tensorflow.serving.ModelService/GetModelStatus",
        "tensorflow.serving.PredictionService/Classify",
        "grpc.health.v1.Health/Check",
        "grpc.health.v1.Health/Watch",
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ],
)
def test_silent_calls_keep_nobody_out_for_long(root: Path, start, method: str) -> None:
    server = start(root, "--max-in-flight", "1", "--read-seconds", "0.5")
    leave = threading.Event()
    calls = [server.channel.stream_stream(f"/{method}")(iter(leave.wait, True)) for _ in range(20)]
    assert {call.code().name for call in calls} == {"CANCELLED", "RESOURCE_EXHAUSTED"}
    assert server.healthy()
    leave.set()


class Over:
    """The context of a call that was cancelled before a thread was free for it."""

    def is_active(self) -> bool:
        return False

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return False


@pytest.mark.parametrize("name", ["talk", "watch"])
def test_of_a_call_that_is_over_before_it_begins_nothing_stays(name: str) -> None:
    reader, health, context = Reader(30), Health(), Over()
    handler = grpc.stream_stream_rpc_method_handler(lambda messages, context: messages)
    if name == "talk":
        assert [*reader.intercept_service(lambda _: handler, None).stream_stream(iter(()), context)] == []
    else:
        health.Watch(HealthCheckRequest(), context, lambda answer, held=context: None)
    stays = weakref.ref(context)
    del context
    gc.collect()
    assert not stays()


def test_what_nobody_waits_for_any_more_is_not_computed_to_the_end(root: Path, start, wait_until) -> None:
    server = start(root, "--log-level", "debug")
    call = server.predict(32_000)
    server.version()
    call.cancel()
    wait_until(lambda: [line for line in server.lines if line.endswith("status=CANCELLED")])


def test_a_call_whose_message_does_not_come_is_ended(root: Path, start, wait_until) -> None:
    server = start(root, "--max-in-flight", "1", "--read-seconds", "0.3")
    leave = server.endless_call(reached=False)
    assert failure(server.endless[0])[0] == "CANCELLED"
    wait_until(lambda: not server.predict().exception())
    leave.set()
    assert [line for line in server.lines if "Traceback" in line] == []


def test_a_call_without_message_is_invalid(root: Path, start) -> None:
    server = start(root)
    call = server.channel.stream_unary("/tensorflow.serving.PredictionService/Predict").future(iter(()))
    assert failure(call) == ("INVALID_ARGUMENT", "The call holds no message.")


def ask_rest(server, count: int, sent: int | None = None) -> tuple[int, str]:
    """Give the HTTP code of a predict of that many images, and its error; with `sent`, so many bytes go out."""
    body = json.dumps({"instances": [[[0] * 28] * 28] * count}).encode()
    with closing(http.client.HTTPConnection(server.endpoints["REST"], timeout=60)) as connection:
        connection.putrequest("POST", "/v1/models/digits:predict")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders()
        connection.send(body[:sent])
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()).get("error", "")


def metrics(server) -> str:
    with urlopen(f"http://{server.endpoints['REST']}/monitoring/prometheus/metrics", timeout=60) as page:
        return page.read().decode()


@pytest.mark.parametrize(
    ("option", "code", "text"),
    [
        ("--max-images=10", 429, "A request of 300 rows; this server takes at most 10. Split it."),
        ("--max-message-mib=1", 429, "Body larger than 1048576 bytes. Send fewer images at a time"),
        ("--rest-timeout-seconds=0.001", 504, "Timed out waiting for notification"),
    ],
)
def test_rest_has_the_same_limits(launch, option: str, code: int, text: str) -> None:
    count = 300 if option == "--max-images=10" else 2_000
    server = launch(option)
    assert ask_rest(server, count) == (code, text)
    assert server.version() == 1


@pytest.mark.parametrize(
    "form", [{"instances": ["?"] * 11}, {"inputs": ["?"] * 11}, {"inputs": {"images": ["?"] * 11}}]
)
def test_rest_counts_images_before_it_converts_them(launch, form: dict[str, object]) -> None:
    server = launch("--max-images", "10")
    with closing(http.client.HTTPConnection(server.endpoints["REST"], timeout=60)) as connection:
        connection.request("POST", "/v1/models/digits:predict", json.dumps(form))
        answer = connection.getresponse()
        text = "A request of 11 rows; this server takes at most 10. Split it."
        assert (answer.status, json.loads(answer.read())) == (429, {"error": text})


def test_requests_in_flight_are_counted_over_both_protocols_and_refused_before_the_body_comes(
    launch, wait_until
) -> None:
    server = launch("--max-in-flight", "1")
    leave = server.endless_call(reached=False)
    wait_until(lambda: 'digits_requests_in_flight{entrypoint="GRPC"} 1' in metrics(server))
    refusal = (429, "1 in flight already, as many as this server takes at a time")
    assert ask_rest(server, 1) == ask_rest(server, 1, sent=0) == refusal
    assert ':request_count{model_name="digits",status="RESOURCE_EXHAUSTED"} 2' in metrics(server)
    leave.set()
    wait_until(lambda: ask_rest(server, 1) == (200, ""))


def test_the_metrics_tell_how_many_rows_wait(launch, wait_until) -> None:
    server = launch()
    bulk = server.predict(32_000)
    wait_until(lambda: "digits_rows_waiting 32000\n" in metrics(server))
    bulk.result()
    assert "digits_rows_waiting 0\n" in metrics(server)


@pytest.mark.parametrize("option", ["--read-seconds", "--rest-timeout-seconds"])
def test_a_body_that_does_not_come_holds_up_the_others_no_longer_than_allowed(launch, wait_until, option: str) -> None:
    server = launch("--max-in-flight", "1", option, "0.3")
    assert ask_rest(server, 1, sent=5) == (504, "Timed out waiting for notification")
    wait_until(lambda: not server.predict().exception())


def test_who_leaves_in_the_middle_of_a_body_takes_no_place_with_him(launch, wait_until) -> None:
    server = launch("--max-in-flight", "1", "--read-seconds", "600", "--rest-timeout-seconds", "600")
    for _ in range(3):
        with closing(http.client.HTTPConnection(server.endpoints["REST"], timeout=60)) as connection:
            connection.putrequest("POST", "/v1/models/digits:predict")
            connection.putheader("Content-Length", "100")
            connection.endheaders(b"{")
            metrics(server)  # is answered later, so the other has reached the server
        wait_until(lambda: not server.predict().exception())
    assert [line for line in server.lines if "Traceback" in line] == []


def test_what_nobody_waits_for_any_more_is_not_computed_over_rest_either(launch, wait_until) -> None:
    server = launch("--log-level", "debug")
    body = gzip.compress(json.dumps({"instances": [[[0] * 28] * 28] * 8_000}).encode())
    with closing(http.client.HTTPConnection(server.endpoints["REST"], timeout=60)) as connection:
        connection.putrequest("POST", "/v1/models/digits:predict")
        connection.putheader("Content-Encoding", "gzip")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        metrics(server)  # is answered later, so the body has reached the server
    wait_until(lambda: [line for line in server.lines if "REST predict" in line])
    assert [line.rpartition(" ")[2] for line in server.lines if "REST predict" in line] == ["status=CANCELLED"]


def test_admission_lets_in_again_who_left_by_an_error() -> None:
    admission = Admission(1)
    for _ in range(3):
        with pytest.raises(KeyError), admission:
            raise KeyError
    with admission, pytest.raises(ServingError) as caught, admission:
        pass
    assert caught.value.status == "RESOURCE_EXHAUSTED"


def taught(backlog: Backlog) -> Backlog:
    """Give it back when it has seen that a row takes half a millisecond."""
    for _ in range(50):
        with backlog.turn(10):
            time.sleep(0.005)
    return backlog


def fail(backlog: Backlog, rows: int, seconds: float = 0) -> None:
    with pytest.raises(KeyError), backlog.turn(rows):
        time.sleep(seconds)
        raise KeyError


def test_the_backlog_weighs_rows_by_the_time_they_take_and_forgets_who_left_by_an_error() -> None:
    backlog = taught(Backlog(0.1))
    fail(backlog, 1000)
    told = r"^1001 rows come first, about \d\S* s; this server lets a request of 1000 wait for 0\.1 s$"
    refusal = pytest.raises(ServingError, match=told)
    with backlog.turn(1), backlog.turn(1000), refusal as caught, backlog.turn(1000):  # one row is not long, 1001 are
        pass
    assert caught.value.status == "RESOURCE_EXHAUSTED"
    with backlog.turn(1000):
        pass


def test_requests_that_fail_tell_only_that_a_row_takes_longer() -> None:
    backlog = taught(Backlog(0.1))
    for _ in range(10):
        fail(backlog, 1000)
    with backlog.turn(1000), pytest.raises(ServingError), backlog.turn(1000):
        pass
    backlog = taught(Backlog(0.1))
    for _ in range(10):
        fail(backlog, 100, 0.05)
    with backlog.turn(300), pytest.raises(ServingError), backlog.turn(300):
        pass


def test_the_results_table_does_not_make_images_look_cheap(root: Path, start) -> None:
    server = start(root, "--max-wait-seconds", "0.05")
    request = PredictRequest(model_spec=ModelSpec(name="digits", signature_name="benchmark"))
    request.inputs["row"].CopyFrom(pack_content(np.zeros(30_000, np.int32)))
    for _ in range(5):
        server.predict(5_000).result()
    for _ in range(20):
        server.method("Predict")(request)
    errors = [error for error in [call.exception() for call in [server.predict(10_000) for _ in range(4)]] if error]
    assert {error.code().name for error in errors} == {"RESOURCE_EXHAUSTED"}


def test_one_image_is_not_held_up_by_the_bulk_of_others() -> None:
    backlog = taught(Backlog(0.1))
    with backlog.turn(1000), backlog.turn(1):
        pass


def test_requests_that_a_busy_machine_held_up_once_refuse_nobody_later() -> None:
    backlog = taught(Backlog(None))
    with backlog.turn(32):
        time.sleep(1)
    with ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(backlog.turn(1))


@pytest.mark.parametrize(("at_a_time", "most"), [(1, 2), (2, 3)])
def test_without_a_limit_requests_wait_for_their_own_time(at_a_time: int, most: int) -> None:
    backlog = taught(Backlog(None, at_a_time))
    with ExitStack() as stack:
        for _ in range(most):
            stack.enter_context(backlog.turn(1000))
        with pytest.raises(ServingError), backlog.turn(1000):
            pass
    with ExitStack() as stack:
        for _ in range(40):  # of few rows many
            stack.enter_context(backlog.turn(1))


def test_admission_never_lets_in_more_than_its_limit() -> None:
    admission, inside, most, lock = Admission(3), [0], [0], threading.Lock()

    def enter(_: int) -> bool:
        try:
            with admission:
                with lock:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                time.sleep(0.001)
                with lock:
                    inside[0] -= 1
        except ServingError:
            return False
        return True

    with ThreadPoolExecutor(12) as threads:
        assert not all(threads.map(enter, range(300)))
    assert most[0] == 3


def let_in(admission: Admission, stack: ExitStack, most: int = 100) -> int:
    """Give how many of so many requests, which stay, are let in."""
    count = 0
    with suppress(ServingError):
        while count < most:
            stack.enter_context(admission)
            count += 1
    return count


def test_after_a_refusal_few_are_in_flight_until_a_moment_passes_without_one() -> None:
    admission = Admission(20)
    with ExitStack() as requests:
        assert let_in(admission, requests) == 20
    for _ in range(5):
        with ExitStack() as requests:
            assert let_in(admission, requests) == FEW_IN_FLIGHT
    with ExitStack() as requests:
        time.sleep(CALM_SECONDS + 0.01)
        assert let_in(admission, requests, 20) == 20


def test_who_asks_again_and_again_after_a_refusal_is_let_in_as_before_in_the_end(
    monkeypatch: pytest.MonkeyPatch, wait_until
) -> None:
    monkeypatch.setattr(limits, "SHED_SECONDS", 0.3)
    admission = Admission(20)

    def ask() -> int:
        with ExitStack() as requests:
            return let_in(admission, requests)

    assert (ask(), ask()) == (20, FEW_IN_FLIGHT)
    wait_until(lambda: ask() == 20)
    assert ask() == FEW_IN_FLIGHT


@pytest.fixture(scope="module", params=["LiteRT", "TensorFlow"])
def model(request: pytest.FixtureRequest, model_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    directory = tmp_path_factory.mktemp("limits") / "1"
    shutil.copytree(model_root / "digits" / "1", directory)
    if request.param == "TensorFlow":
        (directory / "assets.extra/model.tflite").unlink()
    return Model(directory)


def request_of(count: int) -> PredictRequest:
    return PredictRequest(inputs={IMAGES: pack_content(np.zeros((count, 28, 28), np.uint8))})


@pytest.mark.parametrize("seconds", [-1.0, 0.05])
def test_what_nobody_waits_for_any_more_is_not_computed_to_its_end(model: Model, seconds: float) -> None:
    with pytest.raises(ServingError, match=r"^(Timed out waiting for notification)") as caught:
        model.predict(request_of(50_000), Budget(until=time.monotonic() + seconds))
    assert caught.value.status == "DEADLINE_EXCEEDED"
    assert model.predict(request_of(1), Budget(until=time.monotonic() + 60))[1]["digit"].shape == (1,)
