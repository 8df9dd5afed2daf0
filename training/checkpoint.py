"""What a killed training needs to go on as if nothing had happened, and the lock that keeps others out meanwhile.

A checkpoint is the whole state after an epoch, in one NumPy file that is replaced by a rename: there is always a whole
one. A run directory without the marker of `conclude` is not done with: the same command goes on with it.
"""

import dataclasses
import fcntl
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from client.errors import DigitsError
from serving.versions import why, write_json
from training.job import Job

FILE = "checkpoint.npz"
CONFIG = "config.json"
_LOCK, _CLAIM, _MARKER, _ABOUT = "lock", "claim", "concluded", "about"
_claimed: dict[Path, int] = {}  # open, and so locked, for as long as this process lives

Arrays = dict[str, Any]
Row = dict[str, float]


@dataclass(frozen=True)
class Checkpoint:
    """The arrays of a training's state, a row of figures for each epoch that is behind it, and how it trains."""

    arrays: Arrays
    history: list[Row]
    recipe: dict[str, Any]


def save(run_dir: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint of a run. Raises DigitsError when it cannot be written; the one before stays."""
    partial = run_dir / f".{FILE}"
    try:
        with partial.open("wb") as file:
            about = {"history": checkpoint.history, "recipe": checkpoint.recipe}
            arrays: Arrays = {_ABOUT: np.array(json.dumps(about)), **checkpoint.arrays}
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(run_dir / FILE)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DigitsError(
            f"{run_dir}: cannot save epoch {len(checkpoint.history)} ({error.strerror or error}). Mend that and run "
            "the same command: it goes on from the epoch before."
        ) from None


def load(run_dir: Path) -> Checkpoint | None:
    """Read the checkpoint of a run, None when there is none yet. Raises ValueError when it is damaged."""
    path = run_dir / FILE
    if not path.exists():
        return None
    try:
        with np.load(path) as file:  # checks each array's CRC
            arrays = {name: file[name] for name in file.files}
        return Checkpoint(arrays, **json.loads(str(arrays.pop(_ABOUT))))
    except (OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged ({why(error, path)})") from None


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Keep a run to oneself; waits while another process has it. The lock ends with the process, however it ends."""
    with (run_dir / _LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_config(run_dir: Path, job: Job, **details: Any) -> None:
    """Write down what a run trains, and by what settings it is found again."""
    write_json(run_dir / CONFIG, {"settings": job.settings(), "job": dataclasses.asdict(job), **details})


def recipe_of(run_dir: Path) -> Any:
    """Read how a run was trained; None where its files do not tell."""
    return _config(run_dir).get("recipe")


def find_unconcluded(runs: Path, job: Job, taken: set[Path]) -> Path | None:
    """Find a run with a job's settings that was left before it was concluded, and that no command is at now.

    A worker may outlive its command, which was killed, for some seconds: `locked` waits for it.
    """
    for path in sorted(runs.glob(f"{job.letter}_*/{CONFIG}")):
        run_dir = path.parent
        open_ = run_dir not in taken and not (run_dir / _MARKER).exists()
        if open_ and _config(run_dir).get("settings") == job.settings() and claim(run_dir):
            return run_dir
    return None


def claim(run_dir: Path) -> bool:
    """Keep other commands from taking up a run while this process lives, also before its training has begun."""
    if run_dir in _claimed:
        return True
    descriptor = os.open(run_dir / _CLAIM, os.O_WRONLY | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return False
    _claimed[run_dir] = descriptor
    return True


def conclude(run_dir: Path) -> None:
    """Mark a run as done with: exported, here or by another host, or not the best of its seeds."""
    (run_dir / _MARKER).touch()


def _config(run_dir: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((run_dir / CONFIG).read_text()))
    except (OSError, ValueError, TypeError):
        return {}  # missing or damaged
