"""models.config and the environment of TensorFlow Serving's image, as `digits serve` takes them."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub

from client.errors import DigitsError
from serving import config
from serving.complaints import Complaints
from serving.sources import ConfigFile

ENTRY = 'config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" }}\n'


def write(path: Path, root: Path, *names: str) -> Path:
    entries = "".join(ENTRY.format(name=name, path=root / name) for name in names)
    return put(path, f"model_config_list {{ {entries} }}")


def put(path: Path, text: str) -> Path:
    """Write a file so that nobody reads the half of it."""
    written = path.with_suffix(".new")
    written.write_text(text)
    return written.replace(path)


@pytest.fixture
def file(root: Path, tmp_path: Path) -> Path:
    return write(tmp_path / "models.config", root, "digits")


def test_only_the_models_of_the_file_are_served(start, file: Path) -> None:
    server = start(None, "--config", file)
    assert server.version() == 1
    with pytest.raises(grpc.RpcError, match=r"Latest\(A\)"):
        server.version("A")


def test_a_changed_file_is_followed(root: Path, start, file: Path) -> None:
    server = start(None, "--config", file)
    write(file, root, "A")
    server.wait_for("digits/1: unloaded")
    server.wait_for("A/1: serving")
    assert server.version("A") == 1


def test_a_file_that_cannot_be_read_for_a_moment_is_read_later_and_costs_one_line(root: Path, file: Path) -> None:
    said: list[str] = []
    source = ConfigFile(file, Complaints(said.append))
    assert list(source.models({}) or ()) == ["digits"]
    write(file, root, "A")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        looks = [source.models({}), source.models({})]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert looks == [None, None]
    assert said == [
        f"error: {file}: Too many open files. An example is serving/tensorflow_serving/models.config (the models stay "
        "as they are)"
    ]
    assert list(source.models({}) or ()) == ["A"]


def test_a_file_that_changes_in_nothing_but_its_content_is_followed(root: Path, file: Path) -> None:
    source = ConfigFile(file, Complaints(print))
    source.models({})
    before = file.stat()
    file.write_text(file.read_text().replace('"digits"', '"digitZ"'))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert list(source.models({}) or ()) == ["digitZ"]


def test_a_file_that_becomes_wrong_costs_one_line_and_changes_nothing(root: Path, start, file: Path) -> None:
    server = start(None, "--config", file)
    put(file, "model_config_list { config { nmae: 'x' } }")
    line = server.wait_for("error: ")
    assert server.version() == 1
    write(file, root, "A")
    server.wait_for("A/1: serving")
    assert line == (
        f"error: {file}: not a configuration of models: 1:30 : Message type \"mnist_digits.ModelConfig\" has no field "
        'named "nmae". An example is serving/tensorflow_serving/models.config (the models stay as '
        "they are)"
    )  # fmt: skip
    assert [line for line in server.lines if line.startswith("error")] == [line]


def test_a_model_that_is_not_there_is_a_line_and_the_others_serve(root: Path, start, file: Path) -> None:
    write(file, root, "missing", "digits")
    server = start(None, "--config", file)
    server.wait_for(f"error: {root}/missing: No such file or directory")
    assert server.version() == 1


def test_versions_that_a_file_names_and_nobody_has_published_are_a_line(root: Path, start, file: Path) -> None:
    write(file, root, "digits", "A", "empty")
    policy = 'model_version_policy { specific { versions: 1 versions: 7 } } version_labels { key: "x" value: 9 }'
    file.write_text(file.read_text().replace('name: "digits"', f'name: "digits" {policy}'))
    (root / "empty").mkdir()
    server = start(None, "--config", file)
    wanted = f"warning: digits: no version 7, 9 in {root}/digits, as its configuration wants"
    assert server.wait_for("warning: digits") == wanted
    assert server.wait_for("warning: empty") == f"warning: empty: no version in {root}/empty"
    assert [server.version("A"), server.version("digits")] == [1, 1]


def test_a_server_whose_models_are_all_missing_says_so_and_waits(root: Path, start, file: Path) -> None:
    write(file, root, "missing")
    server = start(None, "--config", file)
    assert server.wait_for("no model") == f"no model of {file} is available yet: it is looked for every 0.1 s"
    shutil.copytree(root / "A", root / "missing")
    server.wait_for("missing/1: serving")


@pytest.mark.parametrize("backend", ["embedded", "tensorflow-serving"])
def test_a_file_that_cannot_be_read_is_one_line_and_exit_code_1(tmp_path: Path, digits, backend: str) -> None:
    finished = digits("serve", "--backend", backend, "--config", tmp_path / "models.config")
    assert (finished.returncode, finished.stdout, finished.stderr) == (
        1,
        "",
        f"error: {tmp_path}/models.config: No such file or directory. An example is "
        "serving/tensorflow_serving/models.config\n",
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('config { name: "x" }', "no field"),
        ('model_config_list { config { name: "x" base_path: "x" model_platform: "tensorflow" } }', "absolute path"),
        ('model_config_list { config { name: "x" base_path: "/x" } }', "neither ModelServerConfig::model_type"),
        ('model_config_list { config { base_path: "/x" model_platform: "caffe" } }', "unsupported platform caffe"),
        ("model_config_list { config { base_path: '/x' } config { base_path: '/x' } }", "multiple times"),
        ("model_config_list {", "Expected"),
        ("", "no model_config_list in it"),
        ("\xff", "not a configuration"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "models.config"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DigitsError, match=reason):
        config.read(path)


def test_commas_colons_and_logging_settings_are_read_as_tensorflow_serving_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    path.write_text("""model_config_list: { config: { name: "x", base_path: "/x", model_platform: "tensorflow",
        model_version_policy: { specific: { versions: 3, versions: 4 } }, version_labels: { key: "stable", value: 3 },
        logging_config { log_collector_config { type: "x" } sampling_config { sampling_rate: 0.1 } } } }""")
    model = config.read(path)["x"]
    assert list(model.model_version_policy.specific.versions) == [3, 4]
    assert dict(model.version_labels) == {"stable": 3}


def test_a_file_is_utf_8_in_every_locale(tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    entry = ENTRY.format(name="größe", path="/x")
    path.write_text(f"model_config_list {{ {entry} }}", "utf-8")
    script = "import sys, pathlib; from serving import config; print(ascii([*config.read(pathlib.Path(sys.argv[1]))]))"
    ascii_only = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    told = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, env=ascii_only)
    assert (told.stdout, told.stderr) == (f"{ascii(['größe'])}\n", "")


def test_a_reload_request_cannot_name_folders_that_the_operator_has_not_opened(root: Path, start) -> None:
    shutil.copytree(root / "A", root.parent / "outside")
    server = start(root)
    for path in (root.parent / "outside", root / ".." / "outside"):
        entry = {"name": "x", "base_path": str(path), "model_platform": "tensorflow"}
        request = ReloadConfigRequest(config={"model_config_list": {"config": [entry]}})
        with pytest.raises(grpc.RpcError) as caught:
            ModelServiceStub(server.channel).HandleReloadConfigRequest(request, timeout=30)
        assert (caught.value.code().name, caught.value.details()) == (
            "PERMISSION_DENIED",
            f"Model x: base path {path} is outside of what this server may serve ({root})",
        )
    assert server.version() == 1


@pytest.mark.parametrize(
    ("base_path", "opened"),
    [("/srv/models/digits", "/srv/models"), ("/digits", "/digits"), ("/srv/../digits/", "/digits"), ("//a", "//a")],
)
def test_a_file_opens_the_folder_above_a_base_path_but_never_the_whole_file_system(
    file: Path, base_path: str, opened: str
) -> None:
    put(file, f"model_config_list {{ {ENTRY.format(name='digits', path=base_path)} }}")
    assert ConfigFile(file, Complaints(print)).roots == [Path(opened)]


def test_the_environment_of_tensorflow_servings_image_is_understood(root: Path, start, tmp_path: Path) -> None:
    server = start(None, MODEL_BASE_PATH=str(root), MODEL_NAME="A")
    assert server.wait_for("try it: ").endswith(f" --server {server.address} --model A")
    assert server.version("A") == 1
    with pytest.raises(grpc.RpcError, match=r"Latest\(digits\)"):
        server.version("digits")
