"""The folder of a run: found again or new, kept from other commands meanwhile, and marked when it is done with.

One without the marker of `conclude` is not done with: the same command goes on with it.
"""

import dataclasses
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from client.errors import DigitsError
from serving.versions import write_json
from training.job import Job

CONFIG = "config.json"
_LOCK, _CLAIM, _MARKER = "lock", "claim", "concluded"
_AT_FIRST = {CONFIG, _LOCK, _CLAIM, "log.txt"}
_claimed: dict[Path, int] = {}  # open, and so locked, for as long as this process lives


def assign(jobs: list[Job], runs: Path, resume: bool) -> list[Job]:
    """Give each job the folder of the same training, left unfinished, or else a new one."""
    taken: set[Path] = set()
    assigned = []
    for job in jobs:
        run_dir = _find_unconcluded(runs, job, taken) if resume else None
        if run_dir is None:
            run_dir = new(runs, job.letter)
            _claim(run_dir)
            write_config(run_dir, job)  # so that it is found again, even if its turn never came
        taken.add(run_dir)
        assigned.append(dataclasses.replace(job, run_dir=run_dir))
    return assigned


def new(runs: Path, letter: str) -> Path:
    """Make runs/<letter>_<time>/, as the notebook names its TensorBoard logs."""
    base = runs / f"{letter}_{time.strftime('%Y-%m-%d_%H-%M-%S')}"
    for candidate in (base, *(base.with_name(f"{base.name}_{count}") for count in range(2, 1000))):
        try:
            candidate.mkdir(parents=True)
        except FileExistsError:
            continue
        return candidate
    raise DigitsError(f"{base}: a thousand runs in one second. Pass another --runs folder.")


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Keep a run to oneself; waits while another process has it. The lock ends with the process, however it ends."""
    with (run_dir / _LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def removed_unbegun(run_dir: Path) -> Iterator[None]:
    """Remove a run that fails before it has anything to keep, by an error of ours, whose line tells all of it."""
    try:
        yield
    except DigitsError:
        with suppress(OSError):  # what failed is told, and not that the folder is gone already
            if {path.name for path in run_dir.iterdir()} <= _AT_FIRST:
                shutil.rmtree(run_dir)
        raise


def write_config(run_dir: Path, job: Job, **details: Any) -> None:
    """Write down what a run trains, and by what settings it is found again."""
    write_json(run_dir / CONFIG, {"settings": job.settings(), "job": dataclasses.asdict(job), **details})


def recipe_of(run_dir: Path) -> Any:
    """Read how a run was trained; None where its files do not tell."""
    return _config(run_dir).get("recipe")


def conclude(run_dir: Path) -> None:
    """Mark a run as done with: exported, here or by another host, or not the best of its seeds."""
    (run_dir / _MARKER).touch()


def _find_unconcluded(runs: Path, job: Job, taken: set[Path]) -> Path | None:
    """Find a run with a job's settings that was left before it was concluded, and that no command is at now.

    A worker may outlive its command, which was killed, for some seconds: `locked` waits for it.
    """
    for path in sorted(runs.glob(f"{job.letter}_*/{CONFIG}")):
        run_dir = path.parent
        open_ = run_dir not in taken and not (run_dir / _MARKER).exists()
        if open_ and _config(run_dir).get("settings") == job.settings() and _claim(run_dir):
            return run_dir
    return None


def _claim(run_dir: Path) -> bool:
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


def _config(run_dir: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((run_dir / CONFIG).read_text()))
    except (OSError, ValueError, TypeError):
        return {}  # missing or damaged
