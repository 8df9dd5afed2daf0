"""Dockerfile and compose.yaml, as far as they can be tried without Docker: lint, paths, and every command in them."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections import defaultdict
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from client.contract import GRPC_PORT, REST_PORT

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())


def read_stages() -> dict[str, list[tuple[str, str]]]:
    """Give the instructions of each stage, as (word, rest); what comes before the first stage is left out."""
    stages: dict[str, list[tuple[str, str]]] = {}
    code = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    for word, rest in (line.split(maxsplit=1) for line in code.splitlines() if line.strip()):
        if word == "FROM":
            stages[rest.split()[-1]] = []
        if stages:
            list(stages.values())[-1].append((word, rest))
    return stages


STAGES = read_stages()


def command(stage: str, word: str) -> list[str]:
    """Give a stage's CMD, ENTRYPOINT or HEALTHCHECK in its exec form."""
    [found] = [rest for name, rest in STAGES[stage] if name == word]
    return json.loads(found[found.index("[") :])


def environment(*stages: str) -> dict[str, str]:
    """Give the variables that stages set."""
    pairs = [pair for stage in stages for word, rest in STAGES[stage] if word == "ENV" for pair in shlex.split(rest)]
    return dict(pair.split("=", 1) for pair in pairs)


def is_healthy(**variables: str) -> bool:
    """Run the health check of the embedded server's image as its container does, but with other variables."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    finished = subprocess.run(command("serving", "HEALTHCHECK"), env=os.environ | variables | {"PATH": path})
    return finished.returncode == 0


def test_the_linter_has_nothing_to_say() -> None:
    finished = subprocess.run([Path(sys.executable).with_name("hadolint"), ROOT / "Dockerfile"], capture_output=True)
    assert (finished.returncode, finished.stdout) == (0, b"")


def test_there_is_a_stage_for_each_part_and_each_is_based_on_an_image_or_an_earlier_one() -> None:
    assert list(STAGES) == ["wheel", "base", "client", "serving", "training", "models", "tensorflow-serving"]
    for position, (stage, instructions) in enumerate(STAGES.items()):
        source = instructions[0][1].split()[0]
        assert ":" in source or source in list(STAGES)[:position], stage


def test_what_is_copied_is_there_and_not_ignored(model_root: Path) -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    copied = defaultdict(set)
    for stage, instructions in STAGES.items():
        for word, rest in instructions:
            if word == "COPY" and "--from=" not in rest:
                copied[stage] |= set(shlex.split(rest)[:-1])
    assert copied["tensorflow-serving"] > {"models/digits"}
    assert (model_root / "digits" / "1").is_dir()  # made by `digits train`
    for path in set().union(*copied.values()) - {"models/digits"}:
        assert list(ROOT.glob(path)), path
        assert not any(fnmatch(path, pattern) for pattern in ignored), path
    assert "models" not in ignored


def test_the_wheel_stage_has_all_that_the_wheel_is_made_of() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    copied = " ".join(rest for word, rest in STAGES["wheel"] if word == "COPY").split()
    assert set(wheel["only-include"]) <= set(copied)


def test_the_extras_that_are_installed_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = re.findall(r"\)\[(\w+)\]", DOCKERFILE) + re.findall(r"EXTRA=(\w+)", DOCKERFILE)
    assert sorted(set(named)) == ["gpu", "serving", "training"]
    assert set(named) <= set(extras)


def test_labels_tell_the_projects_version_and_licence() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [labels] = [rest for word, rest in STAGES["base"] if word == "LABEL"]
    told = dict(label.split("=", 1) for label in shlex.split(labels))
    assert told["org.opencontainers.image.version"] == project["version"]
    assert told["org.opencontainers.image.licenses"] == project["license"]
    assert told["org.opencontainers.image.revision"] == "${REVISION}"


@pytest.mark.parametrize("stage", ["client", "serving"])
def test_images_do_not_run_as_root(stage: str) -> None:
    assert [rest for word, rest in STAGES[stage] if word == "USER"] == ["1000:0"]


@pytest.mark.parametrize("stage", ["serving", "tensorflow-serving"])
def test_both_ports_are_exposed(stage: str) -> None:
    assert ("EXPOSE", f"{GRPC_PORT} {REST_PORT}") in STAGES[stage]


@pytest.mark.parametrize("stage", ["client", "serving", "training"])
def test_the_command_of_an_image_is_one_of_ours(stage: str, digits) -> None:
    assert command(stage, "ENTRYPOINT") == ["digits"]
    arguments = [argument for argument in command(stage, "CMD") if argument != "--help"]
    assert digits(*arguments, "--help").returncode == 0


def test_the_training_of_the_readme_leaves_its_work_outside_the_container(digits) -> None:
    readme = (ROOT / "README.md").read_text()
    [line] = [line for line in readme.splitlines() if line.startswith("docker run") and "digits-training" in line]
    options, _, arguments = line.partition(" digits-training ")
    [folder] = [rest for word, rest in STAGES["training"] if word == "WORKDIR"]
    [models] = [rest.partition("=")[2] for word, rest in STAGES["training"] if word == "ENV"]
    assert re.findall(r'-v "\$PWD/\w+:(\S+)"', options) == [models, f"{folder}/runs"]
    assert digits(*arguments.split(), "--help").returncode == 0


def test_the_embedded_server_runs_as_in_its_image_and_its_health_check_sees_it(launch) -> None:
    word, *options = command("serving", "CMD")
    assert (word, options[:2]) == ("serve", ["--host", "0.0.0.0"])
    address = launch(*options[2:]).endpoints["gRPC"]
    assert is_healthy(DIGITS_SERVER=address)
    assert not is_healthy(DIGITS_SERVER="127.0.0.1:1")


@pytest.mark.parametrize("name", ["MODEL_BASE_PATH", "DIGITS_MODELS"])
def test_variables_given_to_the_container_choose_the_models_and_its_health_check_follows(root, start, name) -> None:
    variables = environment("base", "serving") | {name: str(root), "MODEL_NAME": "A"}
    server = start(None, **variables)
    server.wait_for("draw a digit: ")
    assert (server.version("A"), server.predict().exception().code().name) == (1, "NOT_FOUND")
    assert is_healthy(DIGITS_SERVER=server.address, **variables)
    assert not is_healthy(DIGITS_SERVER=server.address, **variables | {"MODEL_NAME": "digits"})


def test_the_health_check_of_tensorflow_serving_sees_a_model_that_is_available(
    endpoints, start, wait_until, tmp_path
) -> None:
    def check(address: str) -> int:
        *bash, script = command("tensorflow-serving", "HEALTHCHECK")
        host, port = address.split(":")
        assert f"/dev/tcp/{host}/{REST_PORT}" in script
        return subprocess.run([*bash, script.replace(str(REST_PORT), port)], timeout=30).returncode

    (tmp_path / "digits" / "1").mkdir(parents=True)
    broken = start(tmp_path)
    wait_until(lambda: "REST" in broken.endpoints)
    assert check(broken.endpoints["REST"]) != 0
    assert check(endpoints["REST"]) == 0


WATCHED = """
import os, sys
def watch(event, arguments):
    changes = event in ("os.mkdir", "os.rename", "os.remove")
    if event == "open" and not isinstance(arguments[0], int):  # no descriptor
        writes = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        changes = writes and not str(arguments[0]).startswith("/dev/")
    if changes:
        os.write(2, f"wrote: {event} {arguments}".encode())
        os._exit(9)
sys.addaudithook(watch)
import digits
digits.main()
"""


def test_the_embedded_server_writes_no_file_so_that_a_read_only_root_works(server, model_root: Path) -> None:
    running = server([sys.executable, "-B", "-c", WATCHED, "serve", "--models", model_root, "--port", "0"])
    running.wait_for("try it: ")
    assert running.stop() == 0


def test_the_configuration_of_tensorflow_serving_is_where_its_flags_say(tmp_path) -> None:
    flags = dict(flag.removeprefix("--").split("=", 1) for flag in command("tensorflow-serving", "CMD"))
    for flag in ("model_config_file", "monitoring_config_file"):
        assert flags[flag].startswith("/config/")
        assert (ROOT / "serving/tensorflow_serving" / Path(flags[flag]).name).exists()


def test_compose_builds_stages_that_exist_and_classifies_through_either_server(digits, served, tmp_path) -> None:
    services = COMPOSE["services"]
    assert {name: service["build"]["target"] for name, service in services.items()} == {
        "embedded": "serving",
        "tensorflow-serving": "tensorflow-serving",
        "classify": "client",
    }
    assert services["classify"]["profiles"] == ["embedded", "tensorflow-serving"]
    assert set(services["classify"]["depends_on"]) == {"embedded", "tensorflow-serving"}
    for server in ("embedded", "tensorflow-serving"):
        assert services[server]["profiles"] == [server]
        assert services[server]["networks"]["default"]["aliases"] == ["server"]
        assert services[server]["ports"] == [f"127.0.0.1:{port}:{port}" for port in (GRPC_PORT, REST_PORT)]
    digits("samples", tmp_path)
    replaced = {"/samples": str(tmp_path), f"server:{GRPC_PORT}": served}
    assert replaced.keys() <= set(services["classify"]["command"])
    finished = digits(*(replaced.get(argument, argument) for argument in services["classify"]["command"]))
    assert (finished.returncode, finished.stderr) == (0, "")
