"""A training is never lost: killed, out of room or damaged, the same command ends with the same weights."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from multiprocessing import forkserver, get_context

import numpy as np
import pytest

from client.errors import DigitsError
from training import checkpoint, folder, pipeline, workers
from training.job import Job, Progress

EPOCHS, IMAGES = 48, 1280
TRAIN = ["train", "B", "--limit", str(IMAGES), "--epochs", str(EPOCHS)]  # an epoch is short; B draws its dropout too
ONE_CORE = {min(os.sched_getaffinity(0))}


def one_core():
    os.sched_setaffinity(0, ONE_CORE)  # one thread: bit for bit


def run_dirs(folder):
    return sorted((folder / "runs").glob("B_*"))


def outcome(run_dir):
    """The final weights, and the figures of every epoch but what it took: seconds and core_seconds."""
    with np.load(run_dir / "checkpoint.npz") as file:
        weights = file["average"]
    lines = (run_dir / "epochs.csv").read_text().splitlines()
    return weights, [line.rsplit(",", 2)[0] for line in lines]


def assert_same(run_dir, other):
    (weights, epochs), (other_weights, other_epochs) = outcome(run_dir), outcome(other)
    np.testing.assert_array_equal(weights, other_weights)
    assert epochs == other_epochs


def kill_after(command, folder, said, seconds=0.0, train=TRAIN):
    """Start training, wait until it has said something, and kill all of it some time later; give what it said."""
    lines = []
    with subprocess.Popen(
        [command, *train], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=one_core, start_new_session=True,
    ) as process:  # fmt: skip
        for line in process.stderr:
            lines.append(line)
            if said in line:
                break
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
    assert said in lines[-1], lines
    return "".join(lines)


class Workers:
    """Start the processes that train for the command as it does, but from one that has TensorFlow in memory."""

    def __init__(self):
        self.context = get_context("forkserver")
        self.context.set_forkserver_preload(["training.train"])  # which starts nothing of TensorFlow's yet

    @contextmanager
    def start(self, run_dir):
        """Give the process, and what it says while it lives."""
        task = partial(pipeline._train_task, job_of(run_dir))
        ours, theirs = self.context.Pipe(duplex=False)
        process = self.context.Process(target=workers._work, args=("B", task, run_dir / "log.txt", theirs), daemon=True)
        process.start()
        theirs.close()
        try:
            yield process, said_by(ours)
        finally:
            process.kill()
            process.join()
            ours.close()

    def kill_after_an_epoch(self, run_dir, seconds):
        """Train until an epoch has ended, and kill the process some time later."""
        with self.start(run_dir) as (_, said):
            assert any(isinstance(message, Progress) and message.loss for message in said)
            time.sleep(seconds)

    def finish(self, run_dir):
        """Train to the end, and give the remarks that were made."""
        with self.start(run_dir) as (_, said):
            *progress, last = said
        assert isinstance(last, workers.Done), last
        return [message.remark for message in progress if message.remark]


def said_by(pipe):
    with suppress(EOFError):
        while True:
            yield pipe.recv()


def job_of(run_dir):
    """What TRAIN asks for."""
    return Job(letter="B", name="B", run_dir=run_dir, epochs=EPOCHS, limit=IMAGES, threads=1)


@pytest.fixture(scope="module")
def work():
    yield Workers()
    forkserver._forkserver._stop()


@pytest.fixture(scope="module")
def undisturbed(work, tmp_path_factory):
    [job] = folder.assign([job_of(None)], tmp_path_factory.mktemp("undisturbed"), resume=False)
    work.finish(job.run_dir)
    return job.run_dir


@pytest.fixture(scope="module")
def killed_once(command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    kill_after(command, folder, f"epoch 2/{EPOCHS}  loss")
    [run_dir] = run_dirs(folder)
    assert not (run_dir / "result.json").exists()
    return folder


@pytest.fixture
def killed(killed_once, tmp_path):
    return shutil.copytree(killed_once, tmp_path, dirs_exist_ok=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_twenty_moments_a_training_ends_with_the_same_weights(undisturbed, work, command, digits, tmp_path):
    """Each try ends an epoch, and is killed in one of the two that follow, or while it saves it.

    The first four are the whole command, the others its worker alone.
    """
    moments = random.Random(1)
    epoch_seconds = min(row["seconds"] for row in checkpoint.load(undisturbed).history)
    for _ in range(4):
        kill_after(command, tmp_path, f"/{EPOCHS}  loss", moments.uniform(0, 2 * epoch_seconds))
    [run_dir] = run_dirs(tmp_path)
    for _ in range(16):
        work.kill_after_an_epoch(run_dir, moments.uniform(0, 2 * epoch_seconds))
    assert 20 <= len(checkpoint.load(run_dir).history) < EPOCHS
    finished = digits(*TRAIN, cwd=tmp_path, preexec_fn=one_core)
    assert finished.returncode == 0, finished.stderr
    assert_same(run_dir, undisturbed)


def test_the_same_command_says_where_it_goes_on_and_another_one_starts_anew(killed, command, digits):
    other = kill_after(command, killed, "epoch 1/1  loss", train=["train", "B", "--limit", "640", "--epochs", "1"])
    assert "going on" not in other
    assert len(run_dirs(killed)) == 2
    finished = digits(*TRAIN, cwd=killed, preexec_fn=one_core)
    assert (finished.returncode, "B  going on after epoch " in finished.stderr) == (0, True), finished.stderr
    assert len(run_dirs(killed)) == 2
    again = kill_after(command, killed, "epoch 1/")
    assert "going on" not in again
    assert len(run_dirs(killed)) == 3, "a training that was concluded is not taken up"


def test_a_command_that_was_killed_alone_is_taken_up_though_its_worker_is_still_at_it(command, tmp_path):
    arguments = [command, *TRAIN]
    with subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=one_core) as process:
        assert any("epoch 2/" in line for line in process.stderr)
        process.kill()
    kill_after(command, tmp_path, "B  going on after epoch ")
    assert len(run_dirs(tmp_path)) == 1


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("result.json", lambda content: b""),
        ("evaluation.json", lambda content: b""),
        ("model.keras", lambda content: b""),
        ("model.keras", lambda content: content[:100_000] + b"damaged" + content[100_007:]),
        ("config.json", lambda content: content.replace(b"0.1", b"0.2")),
    ],
)
def test_a_run_that_was_finished_and_then_damaged_is_finished_again(undisturbed, work, tmp_path, name, damage):
    run_dir = shutil.copytree(undisturbed, tmp_path / undisturbed.name)
    (run_dir / name).write_bytes(damage((run_dir / name).read_bytes()))
    assert work.finish(run_dir) == [f"going on after epoch {EPOCHS}"]
    assert_same(run_dir, undisturbed)
    assert work.finish(run_dir) == [], "now it is whole"


def test_what_is_finished_is_not_lost_when_another_seed_fails(command, digits, tmp_path):
    train = ["train", "B", "--seeds", "2", "--limit", "640", "--epochs", "1", "--jobs", "1"]
    kill_after(command, tmp_path, "B seed 1  training on ", train=train)
    obstacle = run_dirs(tmp_path)[1] / ".checkpoint.npz"
    obstacle.mkdir()
    finished = digits(*train, cwd=tmp_path)
    assert (finished.returncode, "B seed 2  done" in finished.stderr) == (1, False)
    obstacle.rmdir()
    said = kill_after(command, tmp_path, "B seed 2  done in", train=train)
    assert ("B seed 1  done in" in said, "B seed 1  epoch" in said) == (True, False)
    assert len(run_dirs(tmp_path)) == 2


def test_a_damaged_checkpoint_costs_time_and_nothing_else(undisturbed, killed, work):
    [run_dir] = run_dirs(killed)
    checkpoint = run_dir / "checkpoint.npz"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    [remark] = work.finish(run_dir)
    assert remark.startswith(f"{checkpoint} is damaged (")
    assert remark.endswith("): starting over")
    assert_same(run_dir, undisturbed)


def test_a_checkpoint_of_other_layers_is_left_as_one_of_another_recipe_is(undisturbed, killed, work):
    """As an architecture may change from one release to the next."""
    [run_dir] = run_dirs(killed)
    saved = checkpoint.load(run_dir)
    shorter = {name: array[:-1] if array.size > 1 else array for name, array in saved.arrays.items()}
    checkpoint.save(run_dir, replace(saved, arrays=shorter))
    assert work.finish(run_dir) == [f"{run_dir / 'checkpoint.npz'} is of another model or recipe: starting over"]
    assert_same(run_dir, undisturbed)


@pytest.mark.parametrize(("place", "value"), [(8, 1), (10, 99)])
def test_a_checkpoint_that_zipfile_gives_up_on_is_damaged(tmp_path, place, value):
    """The flag of encryption and the method of compression in the directory at the file's end."""
    checkpoint.save(tmp_path, checkpoint.Checkpoint({"weights": np.zeros(3)}, [], {}))
    path = tmp_path / checkpoint.FILE
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + place] = value
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged"):
        checkpoint.load(tmp_path)


def test_without_room_a_training_stops_in_one_line_and_goes_on_when_there_is_room(undisturbed, killed, work, digits):
    def no_room():
        one_core()
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))  # a checkpoint has 1.4 MB

    [run_dir] = run_dirs(killed)
    before = (run_dir / "checkpoint.npz").read_bytes()
    stopped = digits(*TRAIN, cwd=killed, preexec_fn=no_room)
    assert (stopped.returncode, stopped.stdout) == (1, "")
    last = stopped.stderr.splitlines()[-1]
    assert last.startswith(f"error: {run_dir.relative_to(killed)}: cannot save epoch ")
    assert last.endswith("(File too large). Mend that and run the same command: it goes on from the epoch before.")
    assert (run_dir / "checkpoint.npz").read_bytes() == before
    [remark] = work.finish(run_dir)
    assert remark.startswith("going on after epoch ")
    assert_same(run_dir, undisturbed)


def test_a_training_that_finished_before_it_was_exported_is_exported_and_not_repeated(undisturbed, digits, tmp_path):
    shutil.copytree(undisturbed, tmp_path / "runs" / undisturbed.name)
    finished = digits(*TRAIN, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert "B  epoch" not in finished.stderr
    assert "B  exported and checked: models/B/1" in finished.stderr
    assert len(run_dirs(tmp_path)) == 1


def test_two_trainings_at_once_in_one_folder_both_finish(command, tmp_path):
    arguments = [command, "train", "B", "--limit", "640", "--epochs", "1"]
    options = {"cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(arguments, **options) as one, subprocess.Popen(arguments, **options) as other:
        errors = [process.communicate()[1] for process in (one, other)]
    assert (one.returncode, other.returncode) == (0, 0), errors
    assert len(run_dirs(tmp_path)) == 2
    assert all((run_dir / "result.json").exists() for run_dir in run_dirs(tmp_path))
    assert sorted(path.name for path in (tmp_path / "models" / "B").iterdir()) == ["1", "2"]


def test_a_runs_folder_that_cannot_be_made_is_one_line(digits, tmp_path):
    (tmp_path / "file").touch()
    finished = digits("train", "A", "--runs", "file/runs", cwd=tmp_path)
    assert finished.returncode == 1
    assert finished.stderr.startswith("error: file/runs")
    assert finished.stderr.count("\n") == 1


def test_why_a_training_failed_is_told_also_where_its_folder_is_gone_already(tmp_path):
    with pytest.raises(DigitsError, match="^no data$"), folder.removed_unbegun(tmp_path / "gone"):
        raise DigitsError("no data")


def test_a_training_whose_turn_never_came_is_found_again(tmp_path):
    jobs = [Job(letter="A", run_dir=tmp_path, seed=seed) for seed in (1, 2)]
    first = folder.assign(jobs, tmp_path, resume=True)
    assert folder.assign(jobs, tmp_path, resume=True) == first
    assert len({job.run_dir for job in first}) == 2
    assert not {job.run_dir for job in first} & {job.run_dir for job in folder.assign(jobs, tmp_path, resume=False)}


def test_a_run_whose_settings_cannot_be_written_again_for_want_of_room_is_found_again(tmp_path):
    jobs = [Job(letter="A", run_dir=tmp_path)]
    [job] = folder.assign(jobs, tmp_path, resume=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            folder.write_config(job.run_dir, job, recipe={"name": "tuned"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert folder.assign(jobs, tmp_path, resume=True) == [job]


TAKE_UP = """
import sys
from pathlib import Path
from training import folder
from training.job import Job
runs = Path(sys.argv[1])
print(folder.assign([Job(letter="A", run_dir=runs)], runs, resume=True)[0].run_dir, flush=True)
sys.stdin.read()
"""


def test_a_training_that_another_command_is_at_is_left_to_it(tmp_path):
    command = [sys.executable, "-c", TAKE_UP, tmp_path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        taken = other.stdout.readline().strip()
        [mine] = folder.assign([Job(letter="A", run_dir=tmp_path)], tmp_path, resume=True)
        other.stdin.close()
    assert taken.startswith(str(tmp_path / "A_"))
    assert str(mine.run_dir) != taken
