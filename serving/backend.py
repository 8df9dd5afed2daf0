"""TensorFlow Serving itself on the same models: an installed tensorflow_model_server, or the docker line for it."""

import math
import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from client.console import note
from client.contract import GRPC_PORT, MODEL, REST_PORT
from client.errors import UsageError
from serving.settings import Settings

BINARY = "tensorflow_model_server"
IMAGE = "tensorflow/serving:2.20.0"
FILES = Path(__file__).parent / "tensorflow_serving"
EVERYWHERE = "0.0.0.0"


def run(settings: Settings) -> None:
    """Become tensorflow_model_server where it is installed; otherwise print the docker line on stdout.

    Raises UsageError for what it would take for something else.
    """
    if 0 in (settings.port, settings.rest_port):
        raise UsageError("TensorFlow Serving picks no free port: give --port and --rest-port, or --no-rest")
    if settings.poll_seconds % 1:
        raise UsageError(f"TensorFlow Serving polls every so many whole seconds, not {settings.poll_seconds:g}")
    binary = shutil.which(BINARY)
    if binary is None:
        note(f"{BINARY} is not installed. With docker:")
        print(shlex.join(docker_line(settings)))
        return
    if settings.host != EVERYWHERE:
        note(f"warning: {BINARY} listens on every network, whatever --host says. Shut the port off by a firewall.")
    ports = [f"--port={settings.port}", f"--rest_api_port={settings.rest_port or 0}"]
    chosen = _which_models(settings, settings.models, settings.config)
    os.execv(binary, [binary, *ports, *chosen, *flags(FILES, _times_and_limits(settings))])


def docker_line(settings: Settings) -> list[str]:
    """Give the command that runs TensorFlow Serving's image on a model root, with our flags."""
    root, config = settings.models.absolute(), settings.config
    mounts = {root: root if config else Path("/models"), FILES: Path("/config")}  # a file's base paths are the host's
    if config:
        mounts[config.absolute()] = Path("/models.config")
    command = ["docker", "run", "--rm"]
    for inside, outside in ((GRPC_PORT, settings.port), (REST_PORT, settings.rest_port)):
        if outside is not None:
            command += ["-p", f"{settings.address(outside)}:{inside}"]
    for source, target in mounts.items():
        command += ["-v", f"{source}:{target}:ro"]
    chosen = _which_models(settings, Path("/models"), Path("/models.config") if config else None)
    return [*command, IMAGE, *chosen, *flags(Path("/config"), _times_and_limits(settings))]


def flags(folder: Path, chosen: Mapping[str, int]) -> list[str]:
    """Give the flags of flags.txt, for configuration files in that folder, and those that are chosen in their place."""
    lines = (FILES / "flags.txt").read_text().splitlines()
    known = dict(line.format(config=folder)[2:].split("=", 1) for line in lines if line.startswith("--"))
    return [f"--{name}={value}" for name, value in {**known, **chosen}.items()]


def _times_and_limits(settings: Settings) -> dict[str, int]:
    return {
        "grpc_max_threads": settings.limits.in_flight,
        "file_system_poll_wait_seconds": int(settings.poll_seconds),
        "rest_api_timeout_in_ms": math.ceil(settings.rest_timeout_seconds * 1000),
    }


def _which_models(settings: Settings, models: Path, config: Path | None) -> list[str]:
    if config:
        return [f"--model_config_file={config.absolute()}"]
    name = settings.model_name or MODEL
    return [f"--model_name={name}", f"--model_base_path={models.absolute() / name}"]
