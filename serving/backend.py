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
from serving import config
from serving.settings import Settings
from serving.tls import exposure

BINARY = "tensorflow_model_server"
IMAGE = "tensorflow/serving:2.20.0"
FILES = Path(__file__).parent / "tensorflow_serving"
EVERYWHERE = "0.0.0.0"


def run(settings: Settings) -> None:
    """Become tensorflow_model_server where it is installed; otherwise print the docker line on stdout.

    Raises UsageError for what it would take for something else, DigitsError for a configuration that cannot be read.
    """
    if 0 in (settings.port, settings.rest_port):
        raise UsageError("TensorFlow Serving picks no free port: give --port and --rest-port, or --no-rest")
    if settings.poll_seconds % 1:
        raise UsageError(f"TensorFlow Serving polls every so many whole seconds, not {settings.poll_seconds:g}")
    models = config.read(settings.config) if settings.config else {}
    binary = shutil.which(BINARY)
    if binary is None:
        if exposure(settings.host, tls=False):
            note(
                f"warning: whoever reaches {settings.host} can ask and watch. TLS is in {FILES / 'ssl.config.example'}"
            )
        note(f"{BINARY} is not installed. With docker:")
        print(shlex.join(docker_line(settings, models)))
        return
    if settings.host != EVERYWHERE:
        note(f"warning: {BINARY} listens on every network, whatever --host says. Shut the port off by a firewall.")
    ports = [f"--port={settings.port}", f"--rest_api_port={settings.rest_port or 0}"]
    chosen = _which_models(settings, settings.models, settings.config)
    os.execv(binary, [binary, *ports, *chosen, *flags(FILES, _times_and_limits(settings))])


def docker_line(settings: Settings, models: config.Models) -> list[str]:
    """Give the command that runs TensorFlow Serving's image with our flags on a model root, or on configured models."""
    mounts, file = {Path("/models"): settings.models.absolute()}, None
    if settings.config:  # in its folder: of a file that is replaced, the old one would stay inside
        folder = Path("/models.config")
        mounts = {Path(model.base_path): Path(model.base_path) for model in models.values()}
        mounts[folder], file = settings.config.absolute().parent, folder / settings.config.name
    mounts[Path("/config")] = FILES
    command = ["docker", "run", "--rm"]
    for inside, outside in ((GRPC_PORT, settings.port), (REST_PORT, settings.rest_port)):
        if outside is not None:
            command += ["-p", f"{settings.address(outside)}:{inside}"]
    for target, source in mounts.items():
        command += ["-v", f"{source}:{target}:ro"]
    chosen = _which_models(settings, Path("/models"), file)
    return [*command, IMAGE, *chosen, *flags(Path("/config"), _times_and_limits(settings))]


def flags(folder: Path, chosen: Mapping[str, int | str]) -> list[str]:
    """Give the flags of flags.txt, for configuration files in that folder, and those that are chosen in their place."""
    lines = (FILES / "flags.txt").read_text().splitlines()
    known = dict(line.format(config=folder)[2:].split("=", 1) for line in lines if line.startswith("--"))
    return [f"--{name}={value}" for name, value in {**known, **chosen}.items()]


def _times_and_limits(settings: Settings) -> dict[str, int | str]:
    ages = {}
    if settings.connection_seconds:
        ages["grpc_channel_arguments"] = f"grpc.max_connection_age_ms={math.ceil(settings.connection_seconds * 1000)}"
    return {
        **ages,
        "grpc_max_threads": settings.limits.in_flight,
        "file_system_poll_wait_seconds": int(settings.poll_seconds),
        "rest_api_timeout_in_ms": math.ceil(settings.rest_timeout_seconds * 1000),
    }


def _which_models(settings: Settings, models: Path, file: Path | None) -> list[str]:
    if file:
        return [
            f"--model_config_file={file.absolute()}",
            f"--model_config_file_poll_wait_seconds={int(settings.poll_seconds)}",
            "--allow_version_labels_for_unavailable_models=true",  # at the start none is available
        ]
    name = settings.model_name or MODEL
    return [f"--model_name={name}", f"--model_base_path={models.absolute() / name}"]
