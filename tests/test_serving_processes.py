"""Several processes serve on the same ports, and an operator sees one service: start, failures, new versions, stop."""

import http.client
import os
import re
import shutil
import signal
import socket
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path

import grpc
import numpy as np
import pytest

from client import Client
from client.proto.config_pb2 import ReloadConfigRequest
from client.proto.serving_pb2 import ModelSpec, PredictRequest, PredictResponse
from client.tensors import pack_content

TIMEOUT = 60
BLANK = np.zeros((28, 28), np.uint8)
REQUEST = PredictRequest(model_spec=ModelSpec(name="digits"), inputs={"images": pack_content(BLANK[None])})
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
pytestmark = pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="no SO_REUSEPORT here")


def children(server) -> set[int]:
    pid = server.process.pid
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def kill(server, victim: int, wait_until, number: int = signal.SIGKILL) -> None:
    os.kill(victim, number)
    wait_until(lambda: victim not in children(server))


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def page(server) -> str:
    """Give the metrics of whichever process takes a new connection."""
    with closing(http.client.HTTPConnection(server.endpoints["REST"], timeout=TIMEOUT)) as connection:
        connection.request("GET", "/monitoring/prometheus/metrics")
        return connection.getresponse().read().decode()


def answering(server) -> set[str]:
    """Give the numbers of the processes that take some of a few new connections."""
    return {number for _ in range(8) for number in re.findall(r'digits_served_version{process="(.)"', page(server))}


def asked_on_a_new_connection(server) -> int:
    """Predict on a connection of its own; gives the version that answered."""
    with grpc.insecure_channel(server.address, OWN_CONNECTION) as channel:
        predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        answer = PredictResponse.FromString(predict(REQUEST.SerializeToString(), timeout=TIMEOUT))
        return answer.model_spec.version.value


def test_connections_of_both_protocols_are_spread_over_the_processes(launch, wait_until) -> None:
    server = launch("--processes", "2")
    cores = [os.sched_getaffinity(pid) for pid in children(server)]
    assert len(cores) == 2
    assert all(len(one) == 1 for one in cores)
    assert set.union(*cores) == set(sorted(os.sched_getaffinity(0))[:2])
    predicts: dict[str, str] = {}

    def both_have_predicted() -> bool:
        asked_on_a_new_connection(server)
        for number, count in re.findall(r':request_count\{process="(\d)",.*status="OK"\} (\d+)', page(server)):
            predicts[number] = count
        return set(predicts) == {"1", "2"}

    wait_until(both_have_predicted)


def test_the_start_is_announced_once_and_each_process_names_itself(launch) -> None:
    server = launch("--processes", "2", "--log-level", "debug")
    asked_on_a_new_connection(server)
    server.stop()
    told = Counter(re.sub(r"\d+\.\d+\.\d+\.\d+:\d+|\(loaded.*|milliseconds=\S+", "…", line) for line in server.lines)
    assert told["listening on … (gRPC)"] == told["listening on … (REST)"] == 1
    for number in (1, 2):
        assert told[f"process {number}: digits/1: serving with LiteRT …"] == 1
        assert told[f"process {number}: stopping: finishing the calls in flight"] == 1
    [request] = [line.partition(" ")[2] for line in told if "Predict" in line]
    assert request.partition(" ")[2] == "debug: GRPC Predict model=digits version=1 images=1 … status=OK"


def test_a_process_that_is_killed_is_started_again_and_the_service_goes_on(launch, wait_until) -> None:
    server = launch("--processes", "2")
    before = children(server)
    with Client(server.address) as client:
        client.classify([BLANK])
        for victim in before:
            kill(server, victim, wait_until)
            assert client.classify([BLANK])[0].model_version == 1
            wait_until(lambda: answering(server) == {"1", "2"})
    assert not before & children(server)
    told = [line for line in server.lines if line.startswith("error")]
    assert sorted(told) == [f"error: process {n} was ended by SIGKILL: it is started again" for n in (1, 2)]


def test_a_process_that_a_signal_without_a_name_ends_is_started_again(launch, wait_until) -> None:
    server = launch("--processes", "2")
    number = signal.SIGRTMIN + 6
    kill(server, children(server).pop(), wait_until, number)
    wait_until(lambda: answering(server) == {"1", "2"})
    [told] = [line for line in server.lines if line.startswith("error")]
    assert told.endswith(f" was ended by signal {number}: it is started again")


def test_a_process_that_cannot_begin_again_says_why_once_and_begins_when_that_is_mended(
    start, model_root: Path, tmp_path: Path, wait_until
) -> None:
    config, draft = tmp_path / "models.config", tmp_path / "draft"
    model = f'name: "digits" base_path: "{model_root}/digits" model_platform: "tensorflow"'
    draft.write_text(f"model_config_list {{ config {{ {model} }} }}")
    shutil.copy(draft, config)
    server = start(None, "--config", config, "--processes", "2")
    server.wait_for("try it: ")
    config.write_text("model_config")
    tried: set[int] = set()

    def is_tried_again_and_again() -> bool:
        tried.update(children(server))
        return len(tried) > 5

    kill(server, children(server).pop(), wait_until)
    wait_until(is_tried_again_and_again)
    draft.rename(config)
    wait_until(lambda: answering(server) == {"1", "2"})
    killed, why = [line for line in server.lines if re.match("error: process .", line)]
    number = killed.split()[2]
    assert killed == f"error: process {number} was ended by SIGKILL: it is started again"
    assert why.startswith(f"error: process {number} cannot begin: {config}: not a configuration of models: ")


def test_a_new_version_reaches_all_processes_and_fails_no_request(root: Path, start, publish, wait_until) -> None:
    server = start(root, "--processes", "2")
    versions: set[int] = set()
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            versions.add(asked_on_a_new_connection(server))

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    wait_until(lambda: versions)
    publish(root)
    for number in (1, 2):
        server.wait_for(f"process {number}: digits/1: unloaded")
    done.set()
    for asker in askers:
        asker.join()
    assert versions == {1, 2}
    assert {asked_on_a_new_connection(server) for _ in range(16)} == {2}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_after_their_calls(launch, number: int) -> None:
    server = launch("--processes", "2")
    workers = children(server)
    assert len(workers) == 2
    calls = [server.predict(20_000) for _ in range(2)]
    server.version()  # a later call on the same connection is answered: the others have reached the server
    for pid in (server.process.pid, *workers) if number == signal.SIGINT else (server.process.pid,):
        os.kill(pid, number)  # Ctrl-C reaches the whole group
    assert [len(call.result().outputs["digit"].int64_val) for call in calls] == [20_000] * 2
    assert server.ended() == 0
    assert not any(map(alive, workers))


def test_a_second_signal_leaves_at_once(launch, wait_until) -> None:
    server = launch("--processes", "2")
    workers = children(server)
    assert len(workers) == 2
    server.endless_call()
    server.process.terminate()
    server.wait_for("process 1: stopping")
    server.process.terminate()
    assert server.ended() == 128 + signal.SIGTERM
    wait_until(lambda: not any(map(alive, workers)))


def test_no_process_outlives_its_parent(launch, wait_until) -> None:
    server = launch("--processes", "2")
    workers = children(server)
    assert len(workers) == 2
    server.process.kill()
    wait_until(lambda: not any(map(alive, workers)))


def test_what_keeps_the_processes_from_starting_is_said_once(digits, tmp_path: Path, model_root: Path) -> None:
    config = tmp_path / "models.config"
    finished = digits("serve", "--config", config, "--port", "0", "--processes", "2")
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr.startswith(f"error: {config}: No such file or directory.")
    assert finished.stderr.count("\n") == 1
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finished = digits("serve", "--models", model_root, "--port", port, "--processes", "2")
    assert (finished.returncode, finished.stderr) == (
        1,
        f"error: cannot listen on 127.0.0.1:{port}: the port is in use or the address is not this machine's. "
        "Choose another with --port (0: any free one) or --host.\n",
    )


def test_nobody_else_shares_the_ports(launch, digits, model_root: Path) -> None:
    port = launch("--processes", "2").address.rpartition(":")[2]
    for processes in ("1", "2"):
        finished = digits("serve", "--models", model_root, "--port", port, "--no-rest", "--processes", processes)
        assert finished.returncode == 1
        assert finished.stderr.startswith(f"error: cannot listen on 127.0.0.1:{port}: ")


def test_a_reload_is_refused_because_it_would_reach_one_process_only(launch) -> None:
    server = launch("--processes", "2")
    reload = server.channel.unary_unary("/tensorflow.serving.ModelService/HandleReloadConfigRequest")
    call = reload.future(ReloadConfigRequest().SerializeToString(), timeout=TIMEOUT)
    assert (call.code().name, call.details()) == (
        "UNIMPLEMENTED",
        "HandleReloadConfigRequest would reach only one of the processes that serve here. Change the file of --config, "
        "which all of them follow, or serve with --processes 1.",
    )
