"""A real `digits serve` process while versions come and go, folders vanish, and signals arrive."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf.wrappers_pb2 import Int64Value
from grpc_health.v1 import health_pb2, health_pb2_grpc

from client.proto.serving_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelSpec,
    ModelVersionStatus,
    PredictRequest,
    PredictResponse,
)
from client.tensors import pack_content
from serving import versions

TIMEOUT = 30
PREDICT = "/tensorflow.serving.PredictionService/Predict"


class Server:
    """A running server: what it has printed so far, and a channel to it."""

    def __init__(self, command: list[str], **options) -> None:
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options)
        self.lines: list[str] = []
        self._printed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        address = self.wait_for("listening on ").split()[2]
        self.channel = grpc.insecure_channel(address, [("grpc.max_send_message_length", -1)])
        self._predict = self.channel.unary_unary(PREDICT, PredictRequest.SerializeToString, PredictResponse.FromString)
        self._status = self.channel.unary_unary(
            "/tensorflow.serving.ModelService/GetModelStatus",
            GetModelStatusRequest.SerializeToString,
            GetModelStatusResponse.FromString,
        )
        self.health = health_pb2_grpc.HealthStub(self.channel)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._printed:
                self.lines.append(line.rstrip("\n"))
                self._printed.notify_all()

    def wait_for(self, start: str) -> str:
        """Give the first line that begins so, once it is printed."""

        def found() -> list[str]:
            return [line for line in self.lines if line.startswith(start)]

        with self._printed:
            assert self._printed.wait_for(found, TIMEOUT), f"no '{start}' in {self.lines}"
        return found()[0]

    def version(self, name: str = "digits", number: int | None = None) -> int:
        """Give the version that answers a Predict."""
        request = PredictRequest(model_spec=ModelSpec(name=name), inputs={"images": pack_content(images(1))})
        if number is not None:
            request.model_spec.version.CopyFrom(Int64Value(value=number))
        return self._predict(request, timeout=TIMEOUT).model_spec.version.value

    def answering(self, count: int) -> "grpc.Future":
        """Begin a Predict of that many images."""
        request = PredictRequest(model_spec=ModelSpec(name="digits"), inputs={"images": pack_content(images(count))})
        return self._predict.future(request, timeout=TIMEOUT)

    def states(self, name: str = "digits") -> list[tuple[int, str, int]]:
        """Give version, state and error code of all versions that were met."""
        answer = self._status(GetModelStatusRequest(model_spec=ModelSpec(name=name)), timeout=TIMEOUT)
        told = answer.model_version_status
        return [(v.version, ModelVersionStatus.State.Name(v.state), v.status.error_code) for v in told]

    def healthy(self) -> bool:
        answer = self.health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
        return answer.status == health_pb2.HealthCheckResponse.SERVING

    def stop(self) -> int:
        """End it with SIGTERM, unless it has ended, and give its exit code."""
        self.process.terminate()
        return self.ended()

    def ended(self) -> int:
        code = self.process.wait(TIMEOUT)
        self._reader.join()
        self.channel.close()
        self.process.stderr.close()
        return code


def images(count: int) -> np.ndarray:
    return np.zeros((count, 28, 28), np.uint8)


@pytest.fixture
def root(model_root: Path, tmp_path: Path) -> Path:
    """A model root to change, with digits/1 and A/1."""
    for name in ("digits", "A"):
        shutil.copytree(model_root / name / "1", tmp_path / "models" / name / "1")
    return tmp_path / "models"


@pytest.fixture
def start(command: str) -> Iterator[Callable[..., Server]]:
    """Start servers that look for new versions every 0.1 s; those that still run are ended after the test."""
    started: list[Server] = []

    def start(models: Path, *options: str, **environment: str) -> Server:
        arguments = [command, "serve", "--models", str(models), "--port", "0", "--poll-seconds", "0.1", *options]
        started.append(Server(arguments, env={**os.environ, **environment}))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
        server.ended()


def publish(root: Path, damage: Callable[[Path], None] = lambda directory: None) -> int:
    """Publish a copy of digits/1, kept beside the root so that it outlives the served one, as the next version."""
    source = root.parent / "source"
    if not source.exists():
        shutil.copytree(root / "digits" / "1", source)
    with versions.staging(root / "digits") as directory:
        shutil.copytree(source, directory, dirs_exist_ok=True)
        damage(directory)
        return int(versions.publish(directory).name)


def without_graph(directory: Path) -> None:
    (directory / versions.GRAPH_FILE).unlink()


def without_litert(directory: Path) -> None:
    (directory / versions.LITERT_FILE).unlink()


def test_it_says_what_it_serves_where_and_how_to_try_it(root: Path, start) -> None:
    server = start(root)
    address = server.wait_for("listening on ").split()[2]
    server.wait_for("try it: ")
    rest = server.lines[3].split()[2]
    assert [line.split(" (loaded")[0] for line in server.lines] == [
        "digits/1: serving with LiteRT",
        "A/1: serving with LiteRT",
        f"listening on {address} (gRPC)",
        f"listening on {rest} (REST)",
        f"try it: digits samples samples && digits classify samples/*.png --server {address}",
    ]


def test_a_new_version_takes_over_and_the_old_one_is_unloaded(root: Path, start) -> None:
    server = start(root)
    assert server.version() == 1
    assert publish(root) == 2
    server.wait_for("digits/1: unloaded")
    assert server.version() == 2
    assert server.states() == [(2, "AVAILABLE", 0), (1, "END", 0)]
    with pytest.raises(grpc.RpcError, match=r"Servable not found for request: Specific\(digits, 1\)"):
        server.version(number=1)


def test_a_broken_version_is_reported_once_and_the_old_one_serves_on(root: Path, start) -> None:
    server = start(root)
    publish(root, without_graph)
    line = server.wait_for("error: digits/2")
    publish(root, without_graph)  # a second one, so that the first has been looked at again
    server.wait_for("error: digits/3")
    assert line == (
        "error: digits/2: not served: Specified file path does not appear to contain a SavedModel bundle (should have "
        f"a file called `saved_model.pb`) Specified file path: {root}/digits/2 "
        "(digits/1 keeps serving, tried again when its files change)"
    )
    assert server.lines.count(line) == 1
    assert server.version() == 1
    assert server.states() == [(3, "END", 5), (2, "END", 5), (1, "AVAILABLE", 0)]


def test_a_broken_version_serves_as_soon_as_its_files_are_mended(root: Path, start) -> None:
    server = start(root)
    publish(root, without_graph)
    server.wait_for("error: digits/2")
    shutil.copy(root / "digits" / "1" / versions.GRAPH_FILE, root / "digits" / "2")
    server.wait_for("digits/1: unloaded")
    assert server.version() == 2


def test_a_restart_with_a_broken_newest_version_serves_the_one_below(root: Path, start) -> None:
    publish(root, without_graph)
    assert start(root).version() == 1


def test_deleting_the_newest_version_returns_to_the_previous(root: Path, start) -> None:
    publish(root)
    server = start(root)
    assert server.version() == 2
    shutil.rmtree(root / "digits" / "2")
    server.wait_for("digits/2: unloaded")
    assert server.version() == 1
    assert server.states() == [(2, "END", 0), (1, "AVAILABLE", 0)]


def test_deleting_all_versions_of_a_model_is_not_found_and_the_others_serve_on(root: Path, start) -> None:
    server = start(root)
    shutil.rmtree(root / "digits" / "1")
    server.wait_for("digits/1: unloaded")
    with pytest.raises(grpc.RpcError, match=r"Servable not found for request: Latest\(digits\)"):
        server.version()
    assert server.version("A") == 1
    assert server.healthy()


def test_a_folder_that_vanishes_costs_one_line_and_no_service(root: Path, start) -> None:
    server = start(root)
    root.rename(root.with_name("elsewhere"))
    line = server.wait_for("error: ")
    assert (server.version(), server.version("A")) == (1, 1)
    root.with_name("elsewhere").rename(root)
    publish(root)
    server.wait_for("digits/1: unloaded")
    assert line == f"error: {root}: No such file or directory; what is loaded keeps serving. Check the folder."
    assert [line for line in server.lines if line.startswith("error")] == [line]
    assert (server.version(), server.version("A")) == (2, 1)


def test_without_a_model_it_waits_for_the_first_training(root: Path, start) -> None:
    elsewhere = root.rename(root.with_name("elsewhere"))
    server = start(root)
    line = server.wait_for("no model")
    assert line == f"no model 'digits' in {root} yet: run 'digits train --models {root}', and it is picked up."
    assert not server.healthy()
    elsewhere.rename(root)
    server.wait_for("A/1: serving")
    assert (server.version(), server.version("A")) == (1, 1)
    assert server.healthy()


def test_a_model_folder_that_is_given_as_the_root_is_pointed_out(root: Path, start) -> None:
    line = start(root / "digits").wait_for("no model")
    assert line == f"no model in {root}/digits, which holds versions itself. Give the folder above it: --models {root}"


def test_a_version_without_litert_file_is_served_with_tensorflow_and_it_says_so(root: Path, start) -> None:
    publish(root, without_litert)
    server = start(root)
    assert server.lines[0].startswith("digits/2: serving with TensorFlow, because it has no LiteRT file (loaded in ")
    assert server.version() == 2


def test_without_tensorflow_such_a_version_says_what_is_missing(root: Path, start, tmp_path: Path) -> None:
    (tmp_path / "tensorflow.py").write_text("raise ModuleNotFoundError('not installed')")
    publish(root, without_litert)
    server = start(root, PYTHONPATH=str(tmp_path))
    assert server.lines[0] == (
        "error: digits/2: not served: it has no LiteRT file, and TensorFlow, which can serve it without, is not "
        "installed. Export it again with 'digits train', or: pip install 'mnist-digits[training]' "
        "(tried again when its files change)"
    )
    assert server.version() == 1


def test_no_request_fails_while_five_versions_come_and_go(root: Path, start) -> None:
    server = start(root)
    stop = threading.Event()
    answers: Counter[int | str] = Counter()

    def ask() -> None:
        while not stop.is_set():
            try:
                answers[server.version()] += 1
            except grpc.RpcError as error:
                answers[f"{error.code().name}: {error.details()}"] += 1

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    for number in (2, 3, 4, 5, 6):
        publish(root, without_graph if number == 4 else lambda directory: None)
        server.wait_for("error: digits/4" if number == 4 else f"digits/{number}: serving")
        wait_until(lambda number=number: answers[3 if number == 4 else number] > 20)
    for number in (1, 2, 3, 4, 6):
        shutil.rmtree(root / "digits" / str(number))
    server.wait_for("digits/6: unloaded")
    stop.set()
    for client in clients:
        client.join()
    assert set(answers) == {1, 2, 3, 5, 6}


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_the_calls_in_flight_and_exits_0(root: Path, start, number: signal.Signals) -> None:
    server = start(root)
    calls = [server.answering(20_000) for _ in range(4)]
    watch = server.health.Watch(health_pb2.HealthCheckRequest())
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    calls[0].result()  # the server has work, and the others have reached it
    server.process.send_signal(number)
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert [len(call.result().outputs["digit"].int64_val) for call in calls] == [20_000] * 4
    assert server.ended() == 0
    assert server.lines[-1] == "stopping: finishing the calls in flight"


def endless_call(server: Server) -> threading.Event:
    """Begin a call that never sends its message, so that it stays in flight until the event is set."""
    leave = threading.Event()

    def never() -> Iterator[bytes]:
        leave.wait()
        yield from ()

    server.channel.stream_unary(PREDICT).future(never())
    server.version()  # a later call on the same connection is answered: the endless one has reached the server
    return leave


def test_the_drain_is_bounded(root: Path, start) -> None:
    server = start(root, "--drain-seconds", "0.1")
    leave = endless_call(server)
    assert server.stop() == 0
    leave.set()


def test_a_second_signal_leaves_at_once(root: Path, start) -> None:
    server = start(root, "--drain-seconds", "600")
    leave = endless_call(server)
    server.process.terminate()
    server.wait_for("stopping")
    assert server.stop() == 128 + signal.SIGTERM
    leave.set()


def test_a_port_in_use_is_one_line_and_exit_code_1(root: Path, digits, served: str) -> None:
    finished = digits("serve", "--models", root, "--port", served.split(":")[1])
    assert (finished.returncode, finished.stdout, finished.stderr) == (
        1,
        "",
        f"error: cannot listen on {served}: the port is in use or the address is not this machine's. "
        "Choose another with --port (0: any free one) or --host.\n",
    )


def test_a_root_that_is_no_folder_is_one_line_and_exit_code_1(tmp_path: Path, digits) -> None:
    (tmp_path / "models").write_text("not a folder")
    finished = digits("serve", "--models", tmp_path / "models")
    assert (finished.returncode, finished.stdout, finished.stderr) == (
        1,
        "",
        f"error: {tmp_path}/models: Not a directory. Give the folder that holds the models, for example: "
        "digits serve --models models\n",
    )


def test_without_the_serving_extra_it_names_it(tmp_path: Path) -> None:
    script = "import sys; sys.modules['ai_edge_litert'] = None; import digits; digits.main()"
    command = [sys.executable, "-c", script, "serve"]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (finished.returncode, finished.stderr) == (
        1,
        "error: ai_edge_litert is not installed. Run: pip install 'mnist-digits[serving]'\n",
    )


def test_the_server_needs_no_tensorflow(root: Path, start, tmp_path: Path) -> None:
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('the server imported tensorflow')")
    assert start(root, PYTHONPATH=str(tmp_path)).version() == 1
