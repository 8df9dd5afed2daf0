"""What an operator sees of the server from outside: its ports, limits in time, drain, metrics and log lines."""

import http.client
import json
import os
import re
import resource
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client import Client, ModelNotFound
from client.proto.serving_pb2 import PredictRequest
from serving import http_connection
from serving.catalog import Catalog
from serving.complaints import Complaints
from serving.errors import ServingError
from serving.http_server import HttpServer
from serving.logs import Log
from serving.metrics import Histogram, Values, render
from serving.monitor import Monitor
from serving.sources import ModelRoot

PREDICT = "/v1/models/digits:predict"
BLANK = np.zeros((28, 28), np.uint8)
BODY = json.dumps({"instances": [BLANK.tolist()] * 2}).encode()
TIMEOUT = 30


def test_a_full_disk_for_its_words_stops_no_answer(root: Path, command: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    options = ["--models", root, "--port", str(port), "--rest-port", "0", "--log-level", "debug"]
    with Path("/dev/full").open("w") as full, subprocess.Popen([command, "serve", *options], stderr=full) as server:
        with Client(f"127.0.0.1:{port}") as client:
            client.wait_until_ready(TIMEOUT)
            assert [one.model_version for one in client.classify([BLANK])] == [1]
        server.terminate()
        assert server.wait(TIMEOUT) == 0


@pytest.mark.parametrize("closed", ["2>&-", "0<&- 2>&-", "0<&- >&- 2>&-"])
def test_closed_standard_streams_stop_no_answer(root: Path, command: str, closed: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    line = f'exec "$0" serve --models "$1" --port {port} --rest-port 0 {closed}'
    with subprocess.Popen(["sh", "-c", line, command, root]) as server:
        with Client(f"127.0.0.1:{port}") as client:
            client.wait_until_ready(TIMEOUT)
            assert [one.model_version for one in client.classify([BLANK])] == [1]
        server.terminate()
        assert server.wait(TIMEOUT) == 0


def begin(address: str, body: bytes, sent: int) -> http.client.HTTPConnection:
    """Begin a predict that has sent only so much of its body."""
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT)
    connection.putrequest("POST", PREDICT)
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders()
    connection.send(body[:sent])
    return connection


def answer(connection: http.client.HTTPConnection) -> tuple[int, Any]:
    response = connection.getresponse()
    return response.status, json.loads(response.read())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--replicas", "2", "3"], "--replicas does nothing without --cluster: leave it out"),
        *(
            (["--cluster", "auto", option, "9"], f"{option} does nothing with --cluster: leave it out")
            for option in ("--connection-seconds", "--read-seconds", "--rest-port", "--rest-timeout-seconds")
        ),
        (["--no-rest", "--rest-port", "9"], "--rest-port does nothing with --no-rest: leave it out"),
        (
            ["--no-rest", "--rest-timeout-seconds", "9"],
            "--rest-timeout-seconds does nothing with --no-rest: leave it out",
        ),
        (["--config", "c", "--models", "m"], "--models does nothing with --config: leave it out"),
        (["--config", "c", "--model-name", "D"], "--model-name does nothing with --config: leave it out"),
        (["--port", "9", "--rest-port", "9"], "--port and --rest-port are the same: choose two"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(digits, options: list[str], text: str) -> None:
    finished = digits("serve", *options)
    assert (finished.returncode, finished.stdout, finished.stderr) == (2, "", f"error: {text}\n")


@pytest.mark.parametrize("name", ["MODEL_NAME", "MODEL_BASE_PATH", "DIGITS_MODELS"])
def test_what_the_environment_says_of_models_is_no_wrong_usage_beside_a_configuration(digits, name: str) -> None:
    finished = digits("serve", "--config", "nowhere", env={**os.environ, name: "D"})
    assert (finished.returncode, finished.stderr[:16]) == (1, "error: nowhere: ")


def test_rest_can_be_left_out(launch) -> None:
    assert list(launch("--no-rest").endpoints) == ["gRPC"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process ask for it")
def test_no_thread_of_the_server_breaks_off_another(launch) -> None:
    server = launch("--no-rest")
    assert server.predict().exception() is None
    threads = [int(task.name) for task in Path(f"/proc/{server.process.pid}/task").iterdir()]
    ours = [thread for thread in threads if os.sched_getscheduler(thread) == os.SCHED_BATCH]
    assert len(ours) == len(threads) > 2


def test_rest_takes_the_port_it_is_given_and_says_so_when_it_cannot(launch, digits, model_root) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finished = digits("serve", "--models", model_root, "--port", "0", "--rest-port", port)
    assert (finished.returncode, finished.stdout, finished.stderr) == (
        1,
        "",
        f"error: cannot listen on 127.0.0.1:{port}: the port is in use or the address is not this machine's. "
        "Choose another with --rest-port (0: any free one) or --host.\n",
    )
    assert launch("--rest-port", str(port)).endpoints["REST"] == f"127.0.0.1:{port}"


def test_of_two_servers_that_load_at_a_time_the_first_has_the_rest_port(command, model_root, wait_until) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    arguments = [command, "serve", "--models", model_root, "--port", "0", "--rest-port", port]
    both = [subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    wait_until(lambda: any(server.poll() is not None for server in both))
    second, first = sorted(both, key=lambda server: server.poll() is None)
    first.terminate()
    *before, line = second.communicate()[1].splitlines()
    assert (second.returncode, first.wait(TIMEOUT)) == (1, 0)
    assert line.startswith(f"error: cannot listen on 127.0.0.1:{port}: the port is in use")
    assert all(": serving with " in line for line in before)
    first.communicate()


def test_a_body_that_does_not_come_in_time_is_answered_and_others_are_not_held_up(launch) -> None:
    address = launch("--rest-timeout-seconds", "1").endpoints["REST"]
    with closing(begin(address, BODY, sent=1)) as slow, closing(begin(address, BODY, sent=len(BODY))) as quick:
        assert answer(quick)[0] == 200
        assert answer(slow) == (504, {"error": "Timed out waiting for notification"})


@pytest.mark.parametrize("target", [b"http://x/v1/models/digits", b"HTTPS://x:1/v1/models", b"http://x"])
def test_a_whole_url_is_answered_as_its_path(endpoints: dict[str, str], target: bytes) -> None:
    host, port = endpoints["REST"].split(":")
    with socket.create_connection((host, int(port)), TIMEOUT) as connection:
        assert ask(connection, b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n") == b"HTTP/1.1 200 OK"


def test_the_drain_answers_requests_that_have_begun(launch) -> None:
    server = launch()
    with closing(begin(server.endpoints["REST"], BODY, sent=5)) as connection:
        metrics(server.endpoints["REST"])  # is answered later, so the other has reached the server
        server.process.terminate()
        server.wait_for("stopping")
        connection.send(BODY[5:])
        assert answer(connection)[0] == 200
    assert server.process.wait(TIMEOUT) == 0


def test_the_drain_of_rest_is_bounded_and_idle_connections_do_not_count(launch) -> None:
    server = launch("--drain-seconds", "0.2")
    with (
        closing(begin(server.endpoints["REST"], BODY, sent=5)),
        closing(http.client.HTTPConnection(server.endpoints["REST"])) as idle,
    ):
        idle.request("GET", "/v1/models")
        idle.getresponse().read()
        assert server.stop() == 0
    assert server.lines[-1] == "stopping: finishing the calls in flight"


def test_the_drain_answers_who_begins_in_its_first_moments(monkeypatch, wait_until) -> None:
    monkeypatch.setattr(http_connection, "LINGER_SECONDS", 3)  # so that a busy machine's tests begin in them

    def refuses(address: tuple[str, int]) -> bool:
        try:
            socket.create_connection(address, TIMEOUT).close()
        except ConnectionRefusedError:
            return True
        return False

    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        address = stack.enter_context(http_server())
        with (
            closing(http.client.HTTPConnection(*address, timeout=TIMEOUT)) as busy,
            socket.create_connection(address, TIMEOUT) as slow,
            socket.create_connection(address, TIMEOUT) as idle,
        ):
            busy.request("GET", "/")
            response = busy.getresponse()
            assert (response.status, response.read(), response.getheader("Connection")) == (204, b"", None)
            stopped = pool.submit(stack.close)
            wait_until(lambda: refuses(address))
            slow.sendall(b"GET / HT")
            busy.request("GET", "/")
            response = busy.getresponse()
            assert (response.status, response.getheader("Connection")) == (204, "close")
            assert idle.recv(1) == b""  # those who have not begun are closed
            assert ask(slow, b"TP/1.1\r\nHost: x\r\n\r\n") == b"HTTP/1.1 204 No Content"
        stopped.result()


def test_half_a_header_does_not_hold_up_the_stop() -> None:
    with closing(socket.socket()) as connection:
        with http_server() as address:
            connection.connect(address)
            connection.sendall(b"GET / HT")
            began = time.monotonic()
        assert time.monotonic() - began < TIMEOUT / 2


def test_busy_callers_lose_no_request_when_it_stops() -> None:
    def ask_on(address: tuple[str, int]) -> int:
        with closing(http.client.HTTPConnection(*address, timeout=TIMEOUT)) as connection:
            while True:
                connection.request("GET", "/")
                response = connection.getresponse()
                response.read()
                if response.getheader("Connection") == "close":
                    return response.status

    with ThreadPoolExecutor(6) as pool:
        with http_server() as address:
            last = [pool.submit(ask_on, address) for _ in range(6)]
            time.sleep(0.3)
        assert [answered.result() for answered in last] == [204] * 6


@contextmanager
def http_server(**limits: int) -> Iterator[tuple[str, int]]:
    """Run our HTTP server in this process, on an application that has nothing to say; gives its address."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    server = HttpServer(app, "127.0.0.1", 0, print, **limits)
    server.start()
    yield "127.0.0.1", server.port
    server.stop(TIMEOUT)


WITHOUT_FILES = """
import resource, uvicorn, serving.http_connection
from serving.http_server import HttpServer
server = HttpServer(print, "127.0.0.1", 0, print)
resource.setrlimit(resource.RLIMIT_NOFILE, (0, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
try:
    server.start()
except OSError as error:
    print(error.strerror)
server.stop(1)
"""


def test_a_server_that_cannot_begin_says_so() -> None:
    told = subprocess.run([sys.executable, "-c", WITHOUT_FILES], stdout=subprocess.PIPE, text=True, timeout=TIMEOUT)
    assert told.stdout == "Too many open files\n"


def ask(connection: socket.socket, request: bytes = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") -> bytes:
    connection.sendall(request)
    return connection.recv(1000).partition(b"\r\n")[0]


def test_a_connection_too_many_is_answered_at_once_and_the_others_are_served() -> None:
    with (
        http_server(max_connections=2) as address,
        socket.create_connection(address, TIMEOUT) as first,
        socket.create_connection(address, TIMEOUT) as second,
    ):
        assert ask(first) == ask(second) == b"HTTP/1.1 204 No Content"
        with socket.create_connection(address, TIMEOUT) as third:
            assert third.recv(1000).startswith(b"HTTP/1.1 503 ")
            assert third.recv(1000) == b""
        assert ask(first) == ask(second) == b"HTTP/1.1 204 No Content"
        first.close()
        assert ask(second) == b"HTTP/1.1 204 No Content"
        with socket.create_connection(address, TIMEOUT) as fourth:
            assert ask(fourth) == b"HTTP/1.1 204 No Content"


@pytest.mark.parametrize("requests", [0, 1])
@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHo"], ids=["nothing", "half a header"])
def test_a_connection_without_a_whole_request_is_closed(sent: bytes, requests: int) -> None:
    with http_server(idle_seconds=1) as address, socket.create_connection(address, TIMEOUT) as connection:
        for _ in range(requests):
            assert ask(connection) == b"HTTP/1.1 204 No Content"
        connection.sendall(sent)
        assert connection.recv(1000) == b""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit and where it is read are Linux'")
def test_it_takes_all_the_files_that_the_system_allows(launch) -> None:
    server = launch()
    soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    assert soft == min(hard, 65_536)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux'")
def test_the_memory_of_large_requests_goes_back_to_the_system(launch) -> None:
    server = launch()

    def resident_mib() -> int:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) >> 10

    before = resident_mib()
    for _ in range(10):
        calls = [server.predict(30_000, "nobody") for _ in range(4)]  # 24 MB each
        assert {call.exception().code().name for call in calls} == {"NOT_FOUND"}
    assert resident_mib() - before < 150  # 220 to 250 stay as glibc comes


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets another process' limit be set")
def test_without_file_descriptors_the_log_has_a_line_a_second(launch) -> None:
    server = launch("--log-format", "json")
    host, port = server.endpoints["REST"].split(":")
    used = len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (used, used))
    before = len(server.lines)
    with socket.create_connection((host, int(port)), TIMEOUT):
        time.sleep(2.5)
    told = [json.loads(line)["message"] for line in server.lines[before:]]
    of_rest = [message for message in told if message.startswith("REST: ")]
    assert 1 <= len(of_rest) <= 3
    assert "Too many open files" in of_rest[0]
    assert len(told) <= 1 + len(of_rest)  # and one of the model root, which cannot be read either


def metrics(address: str) -> dict[str, float]:
    """Give the samples of the metrics page, by name and labels."""
    with urllib.request.urlopen(f"http://{address}/monitoring/prometheus/metrics", timeout=TIMEOUT) as page:
        assert page.headers["Content-Type"].startswith("text/plain")
        lines = page.read().decode().splitlines()
    samples = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    return {name: float(value) for name, value in samples}


def test_the_metrics_have_tensorflow_servings_names_and_count_both_protocols(launch) -> None:
    server = launch()
    with Client(server.endpoints["gRPC"]) as client:
        client.classify([BLANK] * 3)
    with closing(begin(server.endpoints["REST"], BODY, sent=len(BODY))) as connection:
        answer(connection)
    with closing(begin(server.endpoints["REST"], b"{}", sent=2)) as connection:
        answer(connection)
    samples = metrics(server.endpoints["REST"])
    count, latency = ":tensorflow:serving:request_count", ":tensorflow:serving:request_latency"
    assert samples[f'{count}{{model_name="digits",status="OK"}}'] == 2
    assert samples[f'{count}{{model_name="digits",status="INVALID_ARGUMENT"}}'] == 1
    for api, entrypoint in (("Predict", "GRPC"), ("predict", "REST")):
        labels = f'model_name="digits",API="{api}",entrypoint="{entrypoint}"'
        assert samples[f"{latency}_count{{{labels}}}"] == 1
        assert samples[f"{latency}_sum{{{labels}}}"] > 0
        buckets = [value for name, value in samples.items() if name.startswith(f"{latency}_bucket{{{labels},")]
        assert len(buckets) == 34
        assert (buckets, buckets[-1]) == (sorted(buckets), 1)
    labels = 'model_name="digits",API="Predict",runtime="LiteRT"'
    assert samples[f":tensorflow:serving:runtime_latency_count{{{labels}}}"] == 2
    assert samples['digits_batch_size_bucket{model_name="digits",le="2"}'] == 1
    assert samples['digits_batch_size_sum{model_name="digits"}'] == 5
    assert samples['digits_served_version{model_name="digits"}'] == 1
    assert samples['digits_requests_in_flight{entrypoint="REST"}'] == 0


def test_the_metrics_page_is_prometheus_text() -> None:
    count = Values("counter", ":a:count", "How many.", "name", "status")
    count.add(1, 'quo"ted\\\n', "OK")
    count.add(2, "b", "OK")
    sizes = Histogram("sizes", "How large.", [1, 2.5], "name")
    for value in (0.5, 1, 2, 3, 1e6):
        sizes.observe(value, "b")
    version = Values("gauge", "version", "Which.")
    version.replace({(): 1732647612345678})
    assert render([count, sizes, version, Values("gauge", "now", "Nothing yet.")], {}).splitlines() == [
        "# HELP :a:count How many.",
        "# TYPE :a:count counter",
        ':a:count{name="b",status="OK"} 2',
        r':a:count{name="quo\"ted\\\n",status="OK"} 1',
        "# HELP sizes How large.",
        "# TYPE sizes histogram",
        'sizes_bucket{name="b",le="1"} 2',
        'sizes_bucket{name="b",le="2.5"} 3',
        'sizes_bucket{name="b",le="+Inf"} 5',
        'sizes_sum{name="b"} 1000006.5',
        'sizes_count{name="b"} 5',
        "# HELP version Which.",
        "# TYPE version gauge",
        "version 1732647612345678",
        "# HELP now Nothing yet.",
        "# TYPE now gauge",
    ]


def test_a_fault_of_ours_is_told_to_the_operator_and_hardly_to_the_caller(tmp_path, capsys) -> None:
    def broken(request: PredictRequest) -> None:
        raise ValueError("only for the operator")

    complaints = Complaints(print)
    monitor = Monitor(Catalog(ModelRoot(tmp_path, complaints), complaints, print), Log())
    with pytest.raises(ServingError) as caught:
        monitor.watched("GRPC", "Predict", broken)(PredictRequest())
    assert (caught.value.status, str(caught.value)) == (
        "INTERNAL",
        "Fault in the server: ValueError. See its log.",
    )
    told = capsys.readouterr().err
    assert told.startswith("error: Traceback")
    assert told.endswith("ValueError: only for the operator\n")
    assert ':tensorflow:serving:request_count{model_name="",status="INTERNAL"} 1\n' in monitor.page(0)
    assert 'digits_requests_in_flight{entrypoint="GRPC"} 0\n' in monitor.page(0)


def test_names_of_models_that_are_not_there_do_not_fill_the_metrics(launch) -> None:
    server = launch()
    for name in ("x", 'y"\\'):
        with Client(server.endpoints["gRPC"], model=name) as client, pytest.raises(ModelNotFound):
            client.classify([BLANK])
        with closing(http.client.HTTPConnection(server.endpoints["REST"])) as connection:
            connection.request("POST", f"/v1/models/{name[:1]}:predict", "{}")
            assert answer(connection)[0] == 404
    counts = {name: value for name, value in metrics(server.endpoints["REST"]).items() if "request_count" in name}
    assert counts == {':tensorflow:serving:request_count{model_name="",status="NOT_FOUND"}': 2}


def test_a_request_is_a_line_at_level_debug_and_none_otherwise(launch) -> None:
    servers = {level: launch("--log-level", level) for level in ("debug", "info")}
    for server in servers.values():
        with Client(server.endpoints["gRPC"]) as client:
            client.classify([BLANK] * 3)
        with closing(begin(server.endpoints["REST"], b"{}", sent=2)) as connection:
            answer(connection)
        server.stop()
    lines = [re.sub(r"=\d+\.\d+", "=#", line) for line in servers["debug"].lines if line.startswith("debug: ")]
    assert lines == [
        "debug: GRPC GetModelMetadata model=digits version=1 milliseconds=# status=OK",
        "debug: GRPC Predict model=digits version=1 images=3 milliseconds=# status=OK",
        "debug: REST predict model=digits milliseconds=# status=INVALID_ARGUMENT",
    ]
    assert not [line for line in servers["info"].lines if line.startswith("debug")]


def test_a_name_with_a_newline_does_not_look_like_another_line(capsys) -> None:
    log, name = Log("debug"), "x\nerror: digits/1: not served"
    log.request("GRPC", "Predict", model=name, status="NOT_FOUND")
    log(f"{name}/1: unloaded")
    assert capsys.readouterr().err.splitlines() == [
        "debug: GRPC Predict model=x\ufffderror: digits/1: not served status=NOT_FOUND",
        "x",
        "  error: digits/1: not served/1: unloaded",
    ]


def test_json_lines_are_objects_with_time_level_and_message(launch, model_root, tmp_path) -> None:
    (tmp_path / "digits").symlink_to(model_root / "digits")
    (tmp_path / "broken" / "1").mkdir(parents=True)
    server = launch("--log-format", "json", "--log-level", "debug", models=tmp_path)
    with Client(server.endpoints["gRPC"], model="digits") as client:
        client.classify([BLANK])
    server.stop()
    events = [json.loads(line) for line in server.lines]
    assert {datetime.fromisoformat(event.pop("time")).tzname() for event in events} == {"UTC"}
    assert {event["level"] for event in events} == {"info", "error", "debug"}
    [failure] = [event["message"] for event in events if event["level"] == "error"]
    assert failure.startswith("broken/1: not served: ")
    [request] = [event for event in events if event.get("method") == "Predict"]
    assert request.pop("milliseconds") > 0
    assert request == {
        "level": "debug",
        "message": "request",
        "entrypoint": "GRPC",
        "method": "Predict",
        "model": "digits",
        "version": 1,
        "images": 1,
        "status": "OK",
    }


@pytest.mark.parametrize(
    ("options", "code", "start"),
    [
        (["--models", __file__], 1, f"{__file__}: Not a directory. "),
        (["--tls-cert", "a.pem"], 2, "TLS needs a certificate and its key: "),
        (["--replicas", "2", "3"], 2, "--replicas does nothing without --cluster: "),
    ],
)
def test_what_ends_a_start_is_an_object_too(digits, options: list[str], code: int, start: str) -> None:
    finished = digits("serve", "--log-format", "json", *options)
    event = json.loads(finished.stderr)
    assert (finished.returncode, finished.stdout, event["level"]) == (code, "", "error")
    assert event["message"].startswith(start)
