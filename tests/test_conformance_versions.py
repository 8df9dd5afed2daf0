"""TensorFlow Serving's contract for what lies on the server's disk: versions, states, policies, labels and reloads.

The embedded server alone: for another one these tests would need its folders.
"""

import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelConfigList, ModelServerConfig

from serving import versions

pytestmark = pytest.mark.conformance

TIMEOUT = 30
DEAD_MOUNT = """
import os, threading
look = os.scandir
os.scandir = lambda path: threading.Event().wait() if os.path.basename(path) == "dead" else look(path)
"""


@pytest.fixture(autouse=True, scope="session")  # before models are trained for it
def needs_the_disk(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--server"):
        pytest.skip("changes the model folders, which are on the other server's disk")


def add_endless(root: Path, name: str) -> None:
    """Add a version whose load never ends, as on a dead mount: whoever opens its graph waits for ever."""
    staging = root / name / ".staging"
    staging.mkdir(parents=True)
    os.mkfifo(staging / versions.GRAPH_FILE)
    staging.rename(root / name / str(max([0, *versions.list_versions(root / name)]) + 1))


def model(root: Path, policy: str = "", name: str = "digits", **labels: int) -> ModelConfig:
    """Configure a folder of the root; the policy is in text form."""
    made = ModelConfig(name=name, base_path=str(root / name), model_platform="tensorflow", version_labels=labels)
    text_format.Parse(policy, made.model_version_policy)
    return made


def configured(*models: ModelConfig) -> ModelServerConfig:
    return ModelServerConfig(model_config_list=ModelConfigList(config=models))


def write(folder: Path, *models: ModelConfig) -> Path:
    """Write a models.config so that nobody reads the half of it."""
    written = folder / "models.new"
    written.write_text(text_format.MessageToString(configured(*models)))
    return written.replace(folder / "models.config")


@pytest.fixture
def serve(root: Path, start, tmp_path: Path):
    """Start a server on a models.config."""

    def serve(*models: ModelConfig):
        return start(None, "--config", write(tmp_path, *models))

    return serve


def reload(server, *models: ModelConfig, timeout: float = TIMEOUT):
    request = ReloadConfigRequest(config=configured(*models))
    return ModelServiceStub(server.channel).HandleReloadConfigRequest(request, timeout=timeout)


def predict(server, **spec) -> ModelSpec:
    """Give the model spec of an answer."""
    blank = tf.make_tensor_proto(np.zeros((1, 28, 28), np.uint8))
    request = PredictRequest(model_spec=ModelSpec(**{"name": "digits"} | spec), inputs={"images": blank})
    return PredictionServiceStub(server.channel).Predict(request, timeout=TIMEOUT).model_spec


def failure(call: Callable, *arguments, **options) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **options)
    return caught.value.code().name, caught.value.details()


def versions_of(server, name: str = "digits") -> set[int]:
    return {number for number, state, _ in server.states(name) if state == "AVAILABLE"}


LATEST = ("NOT_FOUND", "Servable not found for request: Latest(digits)")


def test_a_new_version_takes_over_and_the_old_one_ends_well(root: Path, start, publish, wait_until) -> None:
    server = start(root)
    assert server.version() == 1
    publish(root)
    wait_until(lambda: server.states() == [(2, "AVAILABLE", 0), (1, "END", 0)])
    assert server.version() == 2
    assert failure(server.version, number=1) == ("NOT_FOUND", "Servable not found for request: Specific(digits, 1)")


def test_a_broken_version_ends_with_its_error_and_the_old_one_serves_on(root: Path, start, publish, wait_until) -> None:
    server = start(root)
    publish(root, without=versions.GRAPH_FILE)
    wait_until(lambda: server.states() == [(2, "END", 5), (1, "AVAILABLE", 0)])
    request = GetModelStatusRequest(model_spec=ModelSpec(name="digits"))
    told = ModelServiceStub(server.channel).GetModelStatus(request, timeout=TIMEOUT).model_version_status[0].status
    assert told.error_message == (
        "Specified file path does not appear to contain a SavedModel bundle (should have a file called "
        f"`saved_model.pb`)\nSpecified file path: {root}/digits/2"
    )
    assert server.version() == 1
    assert failure(server.version, number=2) == ("NOT_FOUND", "Servable not found for request: Specific(digits, 2)")


def test_a_file_whose_name_is_a_number_is_a_version_without_a_graph(root: Path, start) -> None:
    (root / "digits" / "30261126190612345").touch()
    server = start(root)
    assert server.states() == [(30261126190612345, "END", 5), (1, "AVAILABLE", 0)]
    server.wait_for("error: digits/30261126190612345: not served: Specified file path does not appear to contain a")


def test_a_broken_version_serves_as_soon_as_its_files_are_mended(root: Path, start, publish, wait_until) -> None:
    server = start(root)
    publish(root, without=versions.GRAPH_FILE)
    wait_until(lambda: server.states() == [(2, "END", 5), (1, "AVAILABLE", 0)])
    shutil.copy(root / "digits" / "1" / versions.GRAPH_FILE, root / "digits" / "2")
    wait_until(lambda: server.states() == [(2, "AVAILABLE", 0), (1, "END", 0)])
    assert server.version() == 2


def test_while_a_version_loads_the_old_one_answers_and_other_models_follow(
    root: Path, start, publish, wait_until
) -> None:
    server = start(root)
    add_endless(root, "digits")
    wait_until(lambda: server.states() == [(2, "LOADING", 0), (1, "AVAILABLE", 0)])
    publish(root, name="A")
    wait_until(lambda: server.states("A") == [(2, "AVAILABLE", 0), (1, "END", 0)])
    assert server.version() == 1
    assert failure(server.version, number=2) == ("NOT_FOUND", "Servable not found for request: Specific(digits, 2)")
    assert server.stop() == 0


def test_a_request_pins_its_version_which_is_unloading_meanwhile(root: Path, start, publish, wait_until) -> None:
    server = start(root)
    calls = [server.predict(10_000) for _ in range(4)]
    calls[0].result()  # the others have begun
    publish(root)
    wait_until(lambda: server.states()[-1][1] in ("UNLOADING", "END"))
    assert [call.result().model_spec.version.value for call in calls] == [1] * 4
    wait_until(lambda: server.states() == [(2, "AVAILABLE", 0), (1, "END", 0)])


def test_deleting_the_newest_version_returns_to_the_previous(root: Path, start, publish, wait_until) -> None:
    publish(root)
    server = start(root)
    assert server.version() == 2
    shutil.rmtree(root / "digits" / "2")
    wait_until(lambda: server.states() == [(2, "END", 0), (1, "AVAILABLE", 0)])
    assert server.version() == 1


def test_a_deleted_version_that_comes_back_is_served_again(root: Path, start, publish, wait_until) -> None:
    publish(root)
    server = start(root)
    (root / "digits" / "2").rename(root / "aside")
    wait_until(lambda: server.states() == [(2, "END", 0), (1, "AVAILABLE", 0)])
    (root / "aside").rename(root / "digits" / "2")
    wait_until(lambda: server.states() == [(2, "AVAILABLE", 0), (1, "END", 0)])


def test_deleting_all_versions_is_not_found_and_the_other_models_serve_on(root: Path, start, wait_until) -> None:
    server = start(root)
    shutil.rmtree(root / "digits" / "1")
    wait_until(lambda: server.states() == [(1, "END", 0)])
    assert failure(server.version) == LATEST
    assert server.version("A") == 1
    assert server.healthy()


def test_a_base_path_that_is_gone_unloads_nothing(root: Path, start) -> None:
    server = start(root)
    (root / "digits").rename(root.parent / "elsewhere")
    server.wait_for(f"error: {root}/digits: No such file or directory")
    assert server.version() == 1


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("", {4}),
        ("latest {}", {4}),
        ("latest { num_versions: 2 }", {2, 4}),
        ("all {}", {1, 2, 4}),
        ("specific { versions: 1 versions: 2 versions: 9 }", {1, 2}),
    ],
)
def test_the_policy_chooses_the_versions_and_passes_over_broken_ones(
    root: Path, serve, publish, policy: str, served: set[int]
) -> None:
    for missing in (None, versions.GRAPH_FILE, None):
        publish(root, without=missing)
    server = serve(model(root, policy))
    assert versions_of(server) == served
    assert server.version() == max(served)
    assert {server.version(number=number) for number in served} == served


def test_the_latest_two_move_with_a_new_version(root: Path, serve, publish, wait_until) -> None:
    publish(root)
    server = serve(model(root, "latest { num_versions: 2 }"))
    publish(root)
    wait_until(lambda: server.states() == [(3, "AVAILABLE", 0), (2, "AVAILABLE", 0), (1, "END", 0)])


def test_another_policy_loads_and_unloads(root: Path, serve, publish, wait_until) -> None:
    publish(root)
    server = serve(model(root))
    reload(server, model(root, "specific { versions: 1 }"))
    wait_until(lambda: server.states() == [(2, "END", 0), (1, "AVAILABLE", 0)])
    reload(server, model(root, "all {}"))
    wait_until(lambda: versions_of(server) == {1, 2})
    reload(server, model(root, "specific {}"))
    wait_until(lambda: versions_of(server) == set())
    assert failure(server.version) == LATEST


def test_a_label_answers_with_its_version_and_is_not_in_the_answer(root: Path, serve, publish) -> None:
    publish(root)
    server = serve(model(root, "all {}", stable=1, canary=2))
    assert predict(server, version_label="stable") == ModelSpec(
        name="digits", version={"value": 1}, signature_name="serving_default"
    )
    assert predict(server, version_label="canary").version.value == 2
    assert failure(predict, server, version_label="other") == (
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: other",
    )


def test_a_label_whose_version_is_not_available_is_not_found(root: Path, serve, publish, wait_until) -> None:
    publish(root)
    server = serve(model(root, "all {}", stable=1))
    shutil.rmtree(root / "digits" / "1")
    wait_until(lambda: versions_of(server) == {2})
    assert failure(predict, server, version_label="stable") == (
        "NOT_FOUND",
        "Servable not found for request: Specific(digits, 1)",
    )


def test_a_label_moves_by_a_reload_to_an_available_version_only(root: Path, serve, publish) -> None:
    publish(root)
    server = serve(model(root, "all {}", stable=1))
    reload(server, model(root, "all {}", stable=2))
    assert predict(server, version_label="stable").version.value == 2
    assert failure(reload, server, model(root, "all {}", stable=3)) == (
        "FAILED_PRECONDITION",
        "Request to assign label to version 3 of model digits, which is not currently available for inference",
    )
    assert predict(server, version_label="stable").version.value == 2


def test_no_request_by_label_fails_while_a_file_moves_policy_and_label_at_once(
    root: Path, serve, publish, tmp_path: Path, wait_until
) -> None:
    publish(root)
    server = serve(model(root, "specific { versions: 1 }", stable=1))
    for there, back in ((2, 1), (1, 2)):
        write(tmp_path, model(root, f"specific {{ versions: {there} }}", stable=there))
        wait_until(lambda there=there: predict(server, version_label="stable").version.value == there)
        wait_until(lambda back=back: predict(server, version_label="stable") and back not in versions_of(server))


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (3, "label stable stays with version 1 until version 3 is available"),
        (7, "no version 7 in {root}/digits, as its configuration wants"),
    ],
)
def test_a_label_that_a_file_moves_to_a_version_that_does_not_answer_stays_where_it_is(
    root: Path, serve, publish, tmp_path: Path, number: int, line: str
) -> None:
    publish(root)
    publish(root, without=versions.GRAPH_FILE)
    server = serve(model(root, "specific { versions: 1 }", stable=1))
    write(tmp_path, model(root, f"specific {{ versions: 2 versions: {number} }}", stable=number))
    assert server.wait_for("warning: ") == f"warning: digits: {line.format(root=root)}"
    assert (server.version(), predict(server, version_label="stable").version.value) == (2, 1)


def test_a_version_that_a_label_alone_keeps_answers_by_it_alone(root: Path, serve, publish, tmp_path: Path) -> None:
    publish(root)
    server = serve(model(root, "specific { versions: 2 }", stable=2))
    write(tmp_path, model(root, "specific { versions: 1 }", stable=11))
    server.wait_for("digits/1: serving")
    server.wait_for("warning: ")
    assert (server.version(), predict(server, version_label="stable").version.value) == (1, 2)


def test_a_reload_replaces_the_models(root: Path, serve, wait_until) -> None:
    server = serve(model(root))
    assert failure(server.version, "A")[0] == "NOT_FOUND"
    answer = reload(server, model(root, name="A"))
    server.wait_for("a request has set the models: A")
    assert (answer.status.error_code, answer.status.error_message) == (0, "")
    assert server.version("A") == 1
    wait_until(lambda: server.states() == [(1, "END", 0)])
    assert failure(server.version) == LATEST
    reload(server, model(root), model(root, name="A"))
    assert (server.version(), server.version("A")) == (1, 1)


def test_a_reload_of_a_server_on_a_root_replaces_its_folders(root: Path, start, publish, wait_until) -> None:
    server = start(root)
    reload(server, model(root))
    wait_until(lambda: server.states("A") == [(1, "END", 0)])
    publish(root)
    wait_until(lambda: server.version() == 2)
    assert failure(server.version, "A")[0] == "NOT_FOUND"


def test_a_reload_is_followed_at_once_however_seldom_the_server_looks(root: Path, start, publish, wait_until) -> None:
    publish(root)
    server = start(root, "--poll-seconds", "600")
    reload(server, model(root, "all {}"))
    wait_until(lambda: (versions_of(server), versions_of(server, "A")) == ({1, 2}, set()))


def test_a_reload_takes_out_a_model_of_which_a_version_loads_without_end(root: Path, start, wait_until) -> None:
    server = start(root)
    add_endless(root, "digits")
    wait_until(lambda: server.states() == [(2, "LOADING", 0), (1, "AVAILABLE", 0)])
    reload(server, model(root, name="A"))
    assert failure(server.version) == LATEST
    assert server.states() == [(2, "LOADING", 0), (1, "END", 0)]


def test_a_new_model_that_fails_is_told_and_holds_up_no_other(root: Path, serve, publish) -> None:
    server = serve(model(root))
    publish(root, without=versions.GRAPH_FILE, name="broken")
    code, text = failure(reload, server, model(root), model(root, name="broken"), model(root, name="A"))
    assert (code, text) == (
        "UNKNOWN",
        "1 model(s) did not become available: {{{name: broken version: 1} due to error: NOT_FOUND: Specified file path "
        "does not appear to contain a SavedModel bundle (should have a file called `saved_model.pb`)\n"
        f"Specified file path: {root}/broken/1}}, }}",
    )
    assert (server.version(), server.version("A")) == (1, 1)


def test_a_reload_waits_only_so_long_and_the_next_one_is_not_held_up(root: Path, serve) -> None:
    server = serve(model(root))
    add_endless(root, "endless")
    assert failure(reload, server, model(root), model(root, name="endless"), timeout=2) == (
        "UNKNOWN",
        "1 model(s) did not become available: {{{name: endless version: 1} due to error: DEADLINE_EXCEEDED: "
        "still loading}, }",
    )
    reload(server, model(root), model(root, name="endless"), model(root, name="A"))
    assert (server.version(), server.version("A")) == (1, 1)


def test_a_folder_that_hangs_holds_up_no_start_no_reload_and_no_other_model(
    root: Path, start, publish, tmp_path: Path, wait_until
) -> None:
    (tmp_path / "sitecustomize.py").write_text(DEAD_MOUNT)
    (root / "dead").mkdir()
    server = start(root, PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]))
    assert server.version() == 1
    publish(root)
    wait_until(lambda: server.version() == 2)
    reload(server, model(root, "specific { versions: 1 }"))
    wait_until(lambda: server.version() == 1)
    assert server.stop() == 0


def test_a_reload_whose_model_another_one_takes_out_meanwhile_says_so(root: Path, serve) -> None:
    server = serve(model(root))
    add_endless(root, "endless")
    with ThreadPoolExecutor() as caller:
        told = caller.submit(failure, reload, server, model(root), model(root, name="endless"), timeout=2)
        server.wait_for("a request has set the models: digits, endless")
        reload(server, model(root))
    assert told.result() == (
        "UNKNOWN",
        "1 model(s) did not become available: {{{name: endless} due to error: CANCELLED: another request has taken it "
        "out}, }",
    )


def test_a_new_model_without_versions_is_told_at_once_and_served_when_one_comes(root: Path, serve, publish) -> None:
    server = serve(model(root))
    (root / "empty").mkdir()
    assert failure(reload, server, model(root), model(root, name="empty"), model(root, name="nothing")) == (
        "UNKNOWN",
        "2 model(s) did not become available: {{{name: empty} due to error: NOT_FOUND: no version in its base path}, "
        f"{{{{name: nothing}} due to error: NOT_FOUND: {root}/nothing: No such file or directory}}, }}",
    )
    publish(root, name="empty")
    server.wait_for("empty/1: serving")
    assert server.version("empty") == 1


def test_health_follows_the_models(root: Path, start, publish, wait_until) -> None:
    shutil.rmtree(root / "digits" / "1")
    shutil.rmtree(root / "A" / "1")
    server = start(root)
    assert not server.healthy()
    publish(root)
    wait_until(server.healthy)
    shutil.rmtree(root / "digits" / "1")
    wait_until(lambda: not server.healthy())
