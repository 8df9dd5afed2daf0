"""TensorFlow Serving on the same models: its files are what its protos read, its command line is what we say."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from client.proto.config_pb2 import BatchingParameters, MonitoringConfig, SSLConfig
from serving import backend

ROOT = Path(__file__).parent.parent
OURS = [
    "--grpc_max_threads=96",
    "--enable_grpc_healthcheck_service=true",
    "--load_retry_interval_micros=1000000",
    "--monitoring_config_file={config}/monitoring.config",
]
DEFAULTS = ["--file_system_poll_wait_seconds=1", "--rest_api_timeout_in_ms=30000"]
RECORDER = """#!/bin/sh
for argument; do echo "$argument"; done
"""


def parsed(name: str, message):
    return text_format.Parse((backend.FILES / name).read_text(), message)


def test_models_config_serves_the_promoted_model() -> None:
    [model] = parsed("models.config", ModelServerConfig()).model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("digits", "/models/digits", "tensorflow")


def test_the_allowed_batch_sizes_ascend_to_the_largest_as_tensorflow_serving_demands() -> None:
    batching = parsed("batching.config", BatchingParameters())
    sizes = list(batching.allowed_batch_sizes)
    assert sizes == sorted(sizes)
    assert sizes[-1] == batching.max_batch_size.value


def test_monitoring_is_where_prometheus_looks() -> None:
    monitoring = parsed("monitoring.config", MonitoringConfig()).prometheus_config
    assert (monitoring.enable, monitoring.path) == (True, "/monitoring/prometheus/metrics")


def test_the_tls_example_holds_pem_text_not_paths() -> None:
    tls = parsed("ssl.config.example", SSLConfig())
    for text in (tls.server_key, tls.server_cert, tls.custom_ca):
        assert re.fullmatch(r"-----BEGIN [A-Z ]+-----\n.*\n-----END [A-Z ]+-----\n", text, re.DOTALL)


def test_every_configuration_file_that_a_flag_names_is_there() -> None:
    named = re.findall(r"\{config\}/(\S+)", (backend.FILES / "flags.txt").read_text())
    assert named == ["monitoring.config", "batching.config", "ssl.config"]
    assert all((backend.FILES / name).exists() for name in named[:2])


def test_the_dockerfile_starts_it_with_the_same_flags() -> None:
    command = re.findall(r"^CMD (\[.*\])$", (ROOT / "Dockerfile").read_text().replace("\\\n", ""), re.MULTILINE)[-1]
    assert json.loads(command) == ["--model_config_file=/config/models.config", *backend.flags(Path("/config"), {})]


@pytest.fixture
def installed(tmp_path: Path) -> str:
    """A PATH on which a program that only shows its arguments stands for the real one."""
    binary = tmp_path / "bin" / backend.BINARY
    binary.parent.mkdir()
    binary.write_text(RECORDER)
    binary.chmod(0o755)
    return f"{binary.parent}:{os.environ['PATH']}"


@pytest.mark.parametrize(
    ("options", "models"),
    [
        ([], ["--model_name=digits", "--model_base_path={folder}/models/digits"]),
        (["--model-name", "D"], ["--model_name=D", "--model_base_path={folder}/models/D"]),
        (
            ["--config", "my.config"],
            [
                "--model_config_file={folder}/my.config",
                "--model_config_file_poll_wait_seconds=1",
                "--allow_version_labels_for_unavailable_models=true",
            ],
        ),
    ],
)
def test_an_installed_server_gets_the_models_and_our_flags(
    digits, installed: str, tmp_path: Path, options: list[str], models: list[str]
) -> None:
    shutil.copy(backend.FILES / "models.config", tmp_path / "my.config")
    options = [*options, "--host", "0.0.0.0", "--port", "9000", "--rest-port", "9001"]
    environment = {**os.environ, "PATH": installed}
    finished = digits("serve", "--backend", "tensorflow-serving", *options, cwd=tmp_path, env=environment)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.splitlines() == [
        "--port=9000",
        "--rest_api_port=9001",
        *(line.format(folder=tmp_path) for line in models),
        *(line.format(config=backend.FILES) for line in OURS),
        *DEFAULTS,
    ]


def test_times_and_limits_mean_the_same_there(digits, installed: str) -> None:
    options = ["--max-in-flight", "7", "--poll-seconds", "3", "--rest-timeout-seconds", "1.5"]
    options += ["--connection-seconds", "60"]
    environment = {**os.environ, "PATH": installed}
    given = digits("serve", "--backend", "tensorflow-serving", *options, env=environment).stdout.splitlines()
    assert {"--grpc_max_threads=7", "--file_system_poll_wait_seconds=3", "--rest_api_timeout_in_ms=1500"} <= {*given}
    assert "--grpc_channel_arguments=grpc.max_connection_age_ms=60000" in given
    assert len({flag.split("=")[0] for flag in given}) == len(given)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--max-images", "9"], "TensorFlow Serving has no --max-images: leave it out, or take --backend embedded"),
        (["--processes", "2"], "TensorFlow Serving has no --processes: leave it out, or take --backend embedded"),
        (["--log-format", "json"], "TensorFlow Serving has no --log-format: leave it out, or take --backend embedded"),
        (["--port", "0"], "TensorFlow Serving picks no free port: give --port and --rest-port, or --no-rest"),
        (["--rest-port", "0"], "TensorFlow Serving picks no free port: give --port and --rest-port, or --no-rest"),
        (["--port", "8501"], "--port and --rest-port are the same: choose two"),
        (["--poll-seconds", "0.5"], "TensorFlow Serving polls every so many whole seconds, not 0.5"),
        (
            ["--tls-cert", "a"],
            "TensorFlow Serving has TLS in a file: see serving/tensorflow_serving/ssl.config.example",
        ),
    ],
)
def test_what_it_has_no_equal_of_is_wrong_usage(digits, options: list[str], error: str) -> None:
    finished = digits("serve", "--backend", "tensorflow-serving", *options)
    assert (finished.returncode, finished.stdout, finished.stderr) == (2, "", f"error: {error}\n")


def test_it_warns_that_an_installed_server_listens_everywhere(digits, installed: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": installed}
    finished = digits("serve", "--backend", "tensorflow-serving", cwd=tmp_path, env=environment)
    assert finished.stderr == (
        "warning: tensorflow_model_server listens on every network, whatever --host says. Shut the port off by a "
        "firewall.\n"
    )


def test_without_it_the_docker_line_is_printed(digits, tmp_path: Path) -> None:
    finished = digits("serve", "--backend", "tensorflow-serving", cwd=tmp_path, env={**os.environ, "PATH": "/nowhere"})
    assert (finished.returncode, finished.stderr) == (0, "tensorflow_model_server is not installed. With docker:\n")
    ours = " ".join(line.format(config="/config") for line in OURS + DEFAULTS)
    assert finished.stdout == (
        f"docker run --rm -p 127.0.0.1:8500:8500 -p 127.0.0.1:8501:8501 -v {tmp_path}/models:/models:ro "
        f"-v {backend.FILES}:/config:ro tensorflow/serving:2.20.0 --model_name=digits "
        f"--model_base_path=/models/digits {ours}\n"
    )


def print_docker_line(digits, *options: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": "/nowhere"}
    return digits("serve", "--backend", "tensorflow-serving", *options, env=environment)


def docker_line(digits, *options: str | Path) -> str:
    return print_docker_line(digits, *options).stdout


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_a_docker_line_that_opens_the_port_to_others_comes_with_a_warning(digits, host: str, warned: bool) -> None:
    printed = print_docker_line(digits, "--host", host)
    assert (f"warning: whoever reaches {host} can ask and watch." in printed.stderr) is warned
    assert f"-p {host}:8500:8500" in printed.stdout


def test_without_rest_the_docker_line_opens_no_port_for_it(digits) -> None:
    assert "-p 127.0.0.1:8500:8500 -v" in docker_line(digits, "--no-rest")


def test_the_docker_line_writes_ipv6_as_docker_reads_it(digits) -> None:
    assert "-p '[::1]:8500:8500' -p" in docker_line(digits, "--host", "::1")


def test_with_a_configuration_the_docker_line_mounts_what_it_names_and_follows_it(digits, tmp_path: Path) -> None:
    model = 'config {{ name: "{0}" base_path: "/srv/{0}" model_platform: "tensorflow" }}'
    (tmp_path / "my.config").write_text(f"model_config_list {{ {model.format('b')} {model.format('a')} }}")
    line = shlex.split(docker_line(digits, "--config", tmp_path / "my.config", "--poll-seconds", "3"))
    assert [line[at + 1] for at, word in enumerate(line) if word == "-v"] == [
        "/srv/b:/srv/b:ro",
        "/srv/a:/srv/a:ro",
        f"{tmp_path}:/models.config:ro",
        f"{backend.FILES}:/config:ro",
    ]
    at = line.index("--model_config_file=/models.config/my.config")
    assert line[at + 1 : at + 3] == [
        "--model_config_file_poll_wait_seconds=3",
        "--allow_version_labels_for_unavailable_models=true",
    ]
