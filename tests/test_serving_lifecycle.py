"""A real `digits serve` process while versions come and go, folders vanish, and signals arrive."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from client.channel import Security, connect
from client.proto.config_pb2 import ModelConfig
from serving import sources, versions
from serving.catalog import Catalog
from serving.complaints import Complaints
from serving.errors import ServingError
from serving.poller import FIRST_LOAD_SECONDS
from serving.sources import ModelRoot

TIMEOUT = 30
PREDICT = "/tensorflow.serving.PredictionService/Predict"


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
        f"draw a digit: http://{rest}/",
        f"try it: digits samples samples && digits classify samples/*.png --server {address}",
    ]


def test_a_broken_version_is_reported_once_and_the_old_one_serves_on(root: Path, start, publish) -> None:
    server = start(root)
    publish(root, without=versions.GRAPH_FILE)
    line = server.wait_for("error: digits/2")
    publish(root, without=versions.GRAPH_FILE)  # a second one, so that the first has been looked at again
    server.wait_for("error: digits/3")
    assert line == (
        "error: digits/2: not served: Specified file path does not appear to contain a SavedModel bundle (should have "
        f"a file called `saved_model.pb`) Specified file path: {root}/digits/2 "
        "(digits/1 keeps serving, tried again, at once when its files change)"
    )
    assert server.lines.count(line) == 1
    assert server.version() == 1
    assert server.states() == [(3, "END", 5), (2, "END", 5), (1, "AVAILABLE", 0)]


def test_a_restart_with_a_broken_newest_version_serves_the_one_below(root: Path, start, publish) -> None:
    publish(root, without=versions.GRAPH_FILE)
    assert start(root).version() == 1


def test_a_restart_with_a_newest_version_that_is_a_circle_of_links_serves_the_one_below(root: Path, start) -> None:
    (root / "digits" / "2").symlink_to("2")
    server = start(root)
    assert server.version() == 1
    assert server.states() == [(2, "END", 2), (1, "AVAILABLE", 0)]


def test_names_and_links_that_can_be_no_model_cost_a_line_and_nothing_else(root: Path, start, publish) -> None:
    server = start(root)
    os.mkdir(os.fsencode(root) + b"/\xff")  # noqa: PTH102
    (root / "circle").symlink_to("circle")
    assert "not UTF-8, as a model's name must be; left out" in server.wait_for("warning: ")
    assert f"{root}/circle: Too many levels of symbolic links" in server.wait_for("error: ")
    publish(root)
    server.wait_for("digits/1: unloaded")
    assert [one.version() for one in (server, start(root))] == [2, 2]


def test_a_folder_that_vanishes_costs_one_line_each_time_and_no_service(root: Path, start, publish, wait_until) -> None:
    server = start(root)
    line = f"error: {root}: No such file or directory; what is loaded keeps serving. Check the folder."
    for number in (2, 3):
        root.rename(root.with_name("elsewhere"))
        wait_until(lambda times=number - 1: server.lines.count(line) == times)
        assert (server.version(), server.version("A")) == (number - 1, 1)
        root.with_name("elsewhere").rename(root)
        publish(root)
        server.wait_for(f"digits/{number - 1}: unloaded")
    assert server.lines.count(line) == 2  # a look at a model may have come in between, and tells of its own folder
    assert (server.version(), server.version("A")) == (3, 1)


def test_without_a_model_it_waits_for_the_first_training(root: Path, start, wait_until) -> None:
    elsewhere = root.rename(root.with_name("elsewhere"))
    server = start(root)
    line = server.wait_for("no model")
    assert line == f"no model 'digits' in {root} yet: it is picked up when it comes. Run: digits train --models {root}"
    assert not server.healthy()
    elsewhere.rename(root)
    server.wait_for("A/1: serving")
    assert (server.version(), server.version("A")) == (1, 1)
    wait_until(server.healthy)  # once the look at all models is over, a moment after the line


def test_a_chosen_model_that_is_not_there_is_named(root: Path, start) -> None:
    line = start(root, "--model-name", "digts").wait_for("no model")
    assert line == f"no model 'digts' in {root} is available yet: it is looked for every 0.1 s"


def test_a_chosen_model_that_is_served_leaves_nothing_to_do_but_to_try_it(root: Path, start) -> None:
    server = start(root, "--model-name", "A")
    server.wait_for("draw a digit")
    assert (server.stop(), server.lines[-1][:9], len(server.lines)) == (0, "stopping:", 6)
    assert server.lines[-2].startswith("try it: ")
    assert server.lines[-2].endswith(" --model A")


def test_a_model_folder_that_is_given_as_the_root_is_pointed_out(root: Path, start) -> None:
    line = start(root / "digits").wait_for("no model")
    assert line == f"no model in {root}/digits, which holds versions itself. Give the folder above it: --models {root}"


def test_a_version_without_litert_file_is_served_with_tensorflow_and_it_says_so(root: Path, start, publish) -> None:
    publish(root, without=versions.LITERT_FILE)
    server = start(root)
    line = server.wait_for("digits/2: serving")
    assert line.startswith("digits/2: serving with TensorFlow, because it has no LiteRT file (loaded in ")
    assert server.version() == 2


def test_a_version_that_is_still_being_copied_is_waited_for_and_not_served_with_tensorflow(
    root: Path, start, wait_until
) -> None:
    server = start(root)
    source, target = root / "digits" / "1", root / "digits" / "2"
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(versions.EXTRA))
    wait_until(lambda: server.states()[0] == (2, "LOADING", 0))
    shutil.copytree(source / versions.EXTRA, target / versions.EXTRA)
    assert server.wait_for("digits/2: serving").startswith("digits/2: serving with LiteRT (loaded in ")


def test_a_version_that_is_deleted_while_it_is_looked_at_brings_no_tensorflow(root: Path, start, wait_until) -> None:
    server = start(root)
    target = root / "digits" / "2"
    shutil.copytree(root / "digits" / "1", target, ignore=shutil.ignore_patterns(versions.EXTRA))
    wait_until(lambda: server.states()[0] == (2, "LOADING", 0))
    target.rename(root.with_name("deleted"))
    line = server.wait_for("error: digits/2: not served: ")
    assert "SavedModel file does not exist" not in line  # as TensorFlow puts it


def test_without_tensorflow_such_a_version_says_what_is_missing(root: Path, start, tmp_path: Path, publish) -> None:
    (tmp_path / "tensorflow.py").write_text("raise ModuleNotFoundError('not installed')")
    publish(root, without=versions.LITERT_FILE)
    server = start(root, PYTHONPATH=str(tmp_path))
    assert server.lines[0] == (
        "error: digits/2: not served: it has no LiteRT file, and TensorFlow, which can serve it without, is not "
        "installed. Export it again with 'digits train', or: pip install 'mnist-digits[training]' "
        "(tried again, at once when its files change)"
    )
    assert server.version() == 1


def test_no_request_fails_while_five_versions_come_and_go(root: Path, start, publish, wait_until) -> None:
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
        publish(root, without=versions.GRAPH_FILE if number == 4 else None)
        server.wait_for("error: digits/4" if number == 4 else f"digits/{number}: serving")
        wait_until(lambda number=number: answers[3 if number == 4 else number] > 20)
    for number in (1, 2, 3, 4, 6):
        shutil.rmtree(root / "digits" / str(number))
    server.wait_for("digits/6: unloaded")
    stop.set()
    for client in clients:
        client.join()
    assert set(answers) == {1, 2, 3, 5, 6}


def test_our_client_loses_nothing_while_connections_end_of_their_age(root: Path, start) -> None:
    server = start(root, "--connection-seconds", "0.1")
    states: list[grpc.ChannelConnectivity] = []
    with connect(grpc, server.address, Security()) as server.channel:  # asks again when gRPC itself loses a call
        server.channel.subscribe(states.append)

        def ask(_: int) -> list[int]:
            answers = []
            while states.count(grpc.ChannelConnectivity.READY) < 20:
                answers.append(len(server.predict(10).result().outputs["digit"].int64_val))
            return answers

        with ThreadPoolExecutor(4) as callers:
            assert {count for answers in callers.map(ask, range(4)) for count in answers} == {10}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_the_calls_in_flight_and_exits_0(root: Path, start, number: signal.Signals) -> None:
    server = start(root)
    calls = [server.predict(20_000) for _ in range(4)]
    watch = server.health.Watch(health_pb2.HealthCheckRequest())
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    calls[0].result()  # the server has work, and the others have reached it
    server.process.send_signal(number)
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert [len(call.result().outputs["digit"].int64_val) for call in calls] == [20_000] * 4
    assert server.ended() == 0
    assert server.lines[-1] == "stopping: finishing the calls in flight"


@contextmanager
def slow_link(address: str) -> Iterator[str]:
    """A port before a server, through which answers come at 1 MB/s."""
    host, port = address.split(":")
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(2) as pumps:

        def pump(source: socket.socket, target: socket.socket, pause_seconds: float) -> None:
            with suppress(OSError):  # reset
                while content := source.recv(1 << 14):
                    target.sendall(content)
                    time.sleep(pause_seconds)
            with suppress(OSError):
                target.shutdown(socket.SHUT_RDWR)

        def relay() -> None:
            with listener.accept()[0] as near, socket.socket() as far:
                far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)  # what has not come here is at the server
                far.connect((host, int(port)))
                upwards = pumps.submit(pump, near, far, 0)
                pump(far, near, 0.016)
                upwards.result()

        pumps.submit(relay)
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_the_drain_loses_nothing_of_a_large_answer_that_comes_slowly(root: Path, start) -> None:
    server = start(root)
    with slow_link(server.address) as address, grpc.insecure_channel(address) as slow:
        direct, server.channel = server.channel, slow
        call = server.predict(8_000)
        server.version()  # is answered later, so the other has reached the server
        server.process.terminate()
        server.wait_for("stopping")
        server.channel = direct
        assert server.predict(8_000).exception().code() is grpc.StatusCode.UNAVAILABLE  # it may ask another server
        assert len(call.result().outputs["digit"].int64_val) == 8_000
    assert server.ended() == 0


def test_a_signal_ends_a_server_that_still_loads(root: Path, command: str) -> None:
    graph = root / "digits" / "2" / versions.GRAPH_FILE
    graph.parent.mkdir()
    os.mkfifo(graph)
    arguments = [command, "serve", "--models", root, "--port", "0"]
    with subprocess.Popen(arguments, stderr=subprocess.DEVNULL) as server, graph.open("wb"):  # once the server reads it
        server.terminate()
        assert server.wait(FIRST_LOAD_SECONDS / 2) == 0


def test_models_that_hang_share_the_time_that_is_waited_for_them(tmp_path: Path, wait_until) -> None:
    for name in "abcdef":
        (tmp_path / name / "1").mkdir(parents=True)
        os.mkfifo(tmp_path / name / "1" / versions.GRAPH_FILE)
    complaints = Complaints(print)
    catalog = Catalog(ModelRoot(tmp_path, complaints), complaints, print)
    start = time.monotonic()
    catalog.poll(0.5)
    assert 0.5 < time.monotonic() - start < 5
    wait_until(lambda: catalog.names() == [*"abcdef"])  # the last ones are begun, too


def test_a_start_waits_for_the_first_model_of_a_root_that_is_slow_to_list(root: Path, monkeypatch) -> None:
    monkeypatch.setattr(sources, "LOOK_SECONDS", 0)
    assert ModelRoot(root, Complaints(print)).models({})


def test_a_name_that_no_configuration_has_any_more_costs_no_look(tmp_path: Path, monkeypatch, wait_until) -> None:
    complaints = Complaints(print)
    catalog = Catalog(ModelRoot(tmp_path, complaints), complaints, print)
    config = ModelConfig(name="once", base_path=str(tmp_path), model_platform="tensorflow")
    with pytest.raises(ServingError, match="no version in its base path"):
        catalog.reload([config], TIMEOUT)
    catalog.reload([], TIMEOUT)
    wait_until(lambda: "poll once" not in [thread.name for thread in threading.enumerate()])  # the last one
    begun: list[str] = []
    begin = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda thread: begun.append(thread.name) or begin(thread))
    catalog.poll()
    assert begun == []


def test_a_configuration_on_a_mount_that_hangs_does_not_hold_up_the_stop(root: Path, start, tmp_path: Path) -> None:
    config, pipe = tmp_path / "models.config", tmp_path / "pipe"
    config.write_text(
        f'model_config_list {{ config {{ name: "digits" base_path: "{root}/digits" model_platform: "tensorflow" }} }}'
    )
    server = start(None, "--config", config)
    os.mkfifo(pipe)
    pipe.rename(config)
    with config.open("wb"):  # opens when the server reads it
        assert server.version() == 1
        assert server.stop() == 0


def test_the_drain_is_bounded(root: Path, start) -> None:
    server = start(root, "--drain-seconds", "0.1")
    leave = server.endless_call()
    assert server.stop() == 0
    leave.set()


def test_an_open_conversation_does_not_hold_up_the_stop(root: Path, start) -> None:
    server = start(root, "--drain-seconds", "600")
    leave = threading.Event()
    talk = server.channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
    call = talk(iter(leave.wait, True))
    server.version()
    assert server.stop() == 0
    assert call.code() is grpc.StatusCode.CANCELLED
    leave.set()


def test_a_second_signal_leaves_at_once(root: Path, start) -> None:
    server = start(root, "--drain-seconds", "600")
    leave = server.endless_call()
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
