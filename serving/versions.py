"""Versions on disk: `<root>/<model>/<integer>/`, found by TensorFlow Serving's rules and published atomically.

The exporter writes and the server reads through this one module. Standard library only.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from client.errors import DigitsError

Files = frozenset[tuple[str, int, int]]

GRAPH_FILE = "saved_model.pb"
EXTRA = "assets.extra"  # TensorFlow Serving leaves this folder to us
BENCHMARK_FILE = f"{EXTRA}/benchmark.json"
LITERT_FILE = f"{EXTRA}/model.tflite"
LITERT_BINDING_FILE = f"{EXTRA}/model.tflite.json"
ORIGIN_FILE = f"{EXTRA}/origin.json"
WARMUP_FILE = f"{EXTRA}/tf_serving_warmup_requests"
MODEL_CARD_FILE = f"{EXTRA}/model_card.md"
EVALUATION_FILE = f"{EXTRA}/evaluation.json"

_INTEGER = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)
_STAGING = ".staging-"


def parse_version(name: str) -> int | None:
    """Read a directory name as TensorFlow Serving does (absl SimpleAtoi: blanks, sign and leading zeros are fine)."""
    number = int(name) if _INTEGER.fullmatch(name) else None
    return number if number is not None and 0 <= number < 2**63 else None


def list_versions(model_dir: Path) -> dict[int, Path]:
    """Find the versions of a model, ascending; of two names for one number the one that sorts last counts.

    Source: tensorflow_serving/sources/storage_path/file_system_storage_path_source.cc. Raises OSError when the folder
    cannot be read.
    """
    names = sorted(entry.name for entry in os.scandir(model_dir))
    found = {version: model_dir / name for name in names if (version := parse_version(name)) is not None}
    return dict(sorted(found.items()))


def latest_version(model_dir: Path) -> tuple[int, Path] | None:
    """Give the highest version and its directory; None where there is no version or no such folder."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if versions := list_versions(model_dir):
            return max(versions.items())
    return None


@contextlib.contextmanager
def staging(model_dir: Path) -> Iterator[Path]:
    """Give a hidden folder beside the versions to write the next one into; it is gone at the end unless published."""
    model_dir.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(model_dir)
    directory = Path(tempfile.mkdtemp(prefix=_STAGING, dir=model_dir))
    directory.chmod(0o755)  # mkdtemp's 0700 would hide the version from a server that runs as another user
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _remove_abandoned(model_dir: Path) -> None:
    """Delete staging folders that a killed publisher left behind more than an hour ago."""
    for path in model_dir.glob(f"{_STAGING}*"):
        with contextlib.suppress(FileNotFoundError):  # another publisher, at once, was faster
            if time.time() - path.stat().st_ctime > 3600:  # a copy has the mtime of its source
                shutil.rmtree(path, ignore_errors=True)


def publish(directory: Path) -> Path:
    """Flush a finished staging folder to disk and rename it to the next version: visible means complete.

    Two publishers at once are safe: the rename fails on a taken number, and the next one is tried.
    """
    for path in [directory, *directory.rglob("*")]:
        _fsync(path)
    model_dir = directory.parent
    version = max([0, *list_versions(model_dir)]) + 1
    while True:
        target = model_dir / str(version)
        try:
            directory.rename(target)
        except OSError:
            if not target.exists():
                raise
            version += 1
        else:
            _fsync(model_dir)
            return target


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_version(source: Path, model_dir: Path, reason: str) -> Path:
    """Publish a copy of a version as the next one of a model, with a note of where it is from.

    Raises DigitsError when it cannot be copied.
    """
    with staging(model_dir) as directory:
        try:
            shutil.copytree(source, directory, dirs_exist_ok=True)
            origin = {"copied_from": f"{source.parent.name}/{source.name}", "reason": reason}
            (directory / EXTRA).mkdir(exist_ok=True)
            write_json(directory / ORIGIN_FILE, origin)
        except OSError as error:
            told = error.args[0][0][-1] if isinstance(error, shutil.Error) else str(error)  # of the first file
            why = told.partition(":")[0].rpartition("] ")[-1]  # without the errno before it and the paths behind
            raise DigitsError(f"{model_dir}: cannot copy {source} there ({why}). Nothing was published.") from None
        return publish(directory)


def files(version_dir: Path) -> Files:
    """Identify the state of a version's files by names, sizes and times."""
    inside = (Path(folder, name) for folder, *names in os.walk(version_dir) for name in chain(*names))
    found = set()
    for path in [version_dir, *inside]:  # rglob would raise for a folder that goes meanwhile
        with contextlib.suppress(OSError):  # somebody is deleting or copying it; or loading says what is wrong
            stat = path.stat()
            found.add((str(path), stat.st_size, stat.st_ctime_ns))  # ctime: chmod and a restored mtime count too
    return frozenset(found)


def identify(file: Path) -> tuple[int, ...]:
    """Identify the state of any one file likewise; empty for none."""
    try:
        stat = file.stat()
    except OSError:
        return ()
    return stat.st_ino, stat.st_size, stat.st_ctime_ns


def fingerprint(version_dir: Path) -> str:
    """Identify a SavedModel by the SHA-256 of its graph and variables (1 MB: a millisecond)."""
    digest = hashlib.sha256()
    for path in [version_dir / GRAPH_FILE, *sorted((version_dir / "variables").iterdir())]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a version's extra files. Raises ValueError with the path when it is not one."""
    try:
        content = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:  # nested deeper than Python goes
        raise ValueError(f"{path}: not JSON ({error})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not a JSON object")
    return content


def why(error: Exception, path: Path) -> str:
    """Say what was wrong with a file, without its path, which stands before that, and without an errno."""
    return str(getattr(error, "strerror", None) or error).removeprefix(f"{path}: ")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object, in which paths are text, whole or not at all: a full disk leaves what was there."""
    partial = path.with_name(f".{path.name}")
    partial.write_text(json.dumps(content, indent=1, default=os.fspath) + "\n")
    partial.replace(path)
