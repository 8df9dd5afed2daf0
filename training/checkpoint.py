"""What a killed training needs to go on as if nothing had happened.

A checkpoint is the whole state after an epoch, in one NumPy file that is replaced by a rename: there is always a whole
one.
"""

import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from client.errors import DigitsError
from serving.versions import why

FILE = "checkpoint.npz"
_ABOUT = "about"

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
