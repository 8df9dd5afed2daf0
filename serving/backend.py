"""TensorFlow Serving itself on the same models: an installed tensorflow_model_server, or the docker line for it."""

import os
import shlex
import shutil
from pathlib import Path

from client.console import note
from client.contract import GRPC_PORT, MODEL, REST_PORT

BINARY = "tensorflow_model_server"
IMAGE = "tensorflow/serving:2.20.0"
FILES = Path(__file__).parent / "tensorflow_serving"
EVERYWHERE = "0.0.0.0"


def run(models: Path, host: str, port: int, rest_port: int | None, config: Path | None, name: str | None) -> None:
    """Become tensorflow_model_server where it is installed; otherwise print the docker line on stdout."""
    binary = shutil.which(BINARY)
    if binary is None:
        note(f"{BINARY} is not installed. With docker:")
        print(shlex.join(docker_line(models, host, port, rest_port, config, name)))
        return
    if host != EVERYWHERE:
        note(f"warning: {BINARY} listens on every network, whatever --host says. Shut the port off by a firewall.")
    command = [binary, f"--port={port}", f"--rest_api_port={rest_port or 0}", *_which_models(models, config, name)]
    os.execv(binary, [*command, *flags(FILES)])


def docker_line(
    models: Path, host: str, port: int, rest_port: int | None, config: Path | None, name: str | None
) -> list[str]:
    """Give the command that runs TensorFlow Serving's image on a model root, with our flags."""
    root = models.absolute()
    mounts = {root: root if config else Path("/models"), FILES: Path("/config")}  # a file's base paths are the host's
    if config:
        mounts[config.absolute()] = Path("/models.config")
    command = ["docker", "run", "--rm"]
    address = f"[{host}]" if ":" in host else host
    for inside, outside in ((GRPC_PORT, port), (REST_PORT, rest_port)):
        if outside is not None:
            command += ["-p", f"{address}:{outside}:{inside}"]
    for source, target in mounts.items():
        command += ["-v", f"{source}:{target}:ro"]
    chosen = _which_models(Path("/models"), Path("/models.config") if config else None, name)
    return [*command, IMAGE, *chosen, *flags(Path("/config"))]


def flags(folder: Path) -> list[str]:
    """Read flags.txt, for configuration files in that folder."""
    lines = (FILES / "flags.txt").read_text().splitlines()
    return [line.format(config=folder) for line in lines if line.startswith("--")]


def _which_models(models: Path, config: Path | None, name: str | None) -> list[str]:
    if config:
        return [f"--model_config_file={config.absolute()}"]
    name = name or MODEL
    return [f"--model_name={name}", f"--model_base_path={models.absolute() / name}"]
