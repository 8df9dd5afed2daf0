"""`digits train`, `results`, `export` and `samples`, as a person runs them."""

import io
import json
import math
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from client.errors import DigitsError
from serving.versions import BENCHMARK_FILE, MODEL_CARD_FILE, list_versions
from training import pipeline, promotion, results, table, workers
from training.job import Progress
from training.progress import Display

ROOT = Path(__file__).parent.parent
TRAIN = ["train", "A", "B", "--limit", "12000", "--epochs", "6"]


@pytest.fixture
def unconcluded(trained, tmp_path):
    """What the training of A and B has left, as TRAIN finds it again when it was interrupted while it exported."""
    folder = shutil.copytree(trained[0], tmp_path / "unconcluded")
    for marker in folder.glob("runs/*/concluded"):
        marker.unlink()
    return folder


def test_train_says_what_it_does_on_stderr_and_prints_the_table_on_stdout(trained):
    _, finished = trained
    lines = finished.stderr.splitlines()
    assert "A  training on CPU, 1 thread" in lines
    assert [line[:10] for line in lines if line.startswith("B  epoch")] == [f"B  epoch {n}" for n in range(1, 7)]
    [done] = [line for line in lines if line.startswith("A  done in")]
    own = results.own_result(trained[0] / "models" / "A" / "1")
    told = "{} errors on the 5,000 test images, {} on all 10,000".format(*own.errors)
    assert done.endswith(f" s, val accuracy {own.val_accuracy:.4f}, {told}")
    assert any(line == "A  exported and checked: models/A/1" for line in lines)
    assert lines[-1] == "next: digits serve --models models"
    header, *rows = finished.stdout.splitlines()
    assert header.split()[:4] == ["Model_name", "Description", "Loss", "Accuracy"]
    assert [row[0] for row in rows] == ["A", "B"]


def test_a_run_leaves_its_logs_settings_and_weights(trained):
    run_dir = next((trained[0] / "runs").glob("A_*"))
    names = {path.name for path in run_dir.iterdir()}
    state = {"checkpoint.npz", "lock", "claim", "concluded"}
    figures = {"config.json", "epochs.csv", "evaluation.json", "result.json", "train", "log.txt"}
    assert names == {*state, *figures, "validation", "model.keras"}
    header, *epochs = (run_dir / "epochs.csv").read_text().splitlines()
    assert header.startswith("epoch,loss,accuracy,val_loss,val_accuracy,learning_rate,")
    assert len(epochs) == 6
    assert list((run_dir / "train").glob("events.out.tfevents.*"))


def test_the_best_by_validation_is_served_and_marked(model_root, digits):
    rows = json.loads(digits("results", "--json", "--models", model_root).stdout)
    best = max(rows, key=lambda row: (row["distorted_accuracy"], -row["val_loss"]))
    assert [row["model"] for row in rows if row["served"]] == [best["model"]]
    assert results.served_result(model_root).run == best["run"]


def test_results_come_as_markdown_with_the_published_accuracy_beside_ours(model_root, digits):
    lines = digits("results", "--markdown", "--models", model_root).stdout.splitlines()
    assert lines[0].startswith(
        "| Model_name | Description | Loss | Accuracy | Published | Seeds | Errors | Validation | Distorted |"
    )
    assert lines[1].startswith("| --- | --- | --: |")
    assert [line.count("|") for line in lines] == [16] * 4
    assert "0.9898" in lines[2]
    assert "0.9782" in lines[3]


@pytest.mark.parametrize("width", [20, 27, 28, 38, 39, 52, 53, 74, 75, 80, 121, 122, 171, 172])
def test_on_a_terminal_the_table_leaves_out_columns_rather_than_to_cut_figures(width):
    published = json.loads((ROOT / "docs/results.json").read_text())
    rows = [results.Result(**row | {"distorted_accuracy": 0.994}) for row in published]
    console = Console(width=width, file=io.StringIO())
    console.print(table.to_table(rows, width))
    printed = console.file.getvalue()
    assert "…" not in printed
    for one in rows:
        [line] = [line for line in printed.splitlines() if line.startswith(f"{one.model} ")]
        assert f"{one.accuracy:.4f}" in line
        assert ("{} / {}".format(*one.errors) in line) == (width >= 53)


def test_the_formats_of_the_results_exclude_each_other(digits):
    finished = digits("results", "--json", "--markdown")
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr == "error: --json and --markdown exclude each other: give one of them\n"


def test_a_folder_with_a_blank_in_its_name_is_quoted_in_what_to_run_next(tmp_path, digits):
    finished = digits("samples", "my samples", "--count", "1", cwd=tmp_path)
    assert finished.stderr == "wrote 1 image to my samples. next: digits classify 'my samples'/*.png\n"
    finished = digits("results", "--models", "my models", cwd=tmp_path)
    assert finished.stderr.endswith("Train with: digits train --models 'my models'\n")
    finished = digits("versions", "--models", "my models", cwd=tmp_path)
    assert finished.stderr.endswith("Run: digits train --models 'my models'\n")


def test_results_of_an_empty_folder_say_what_to_do(tmp_path, digits):
    finished = digits("results", "--models", tmp_path)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert (
        finished.stderr == f"error: {tmp_path}: no trained model there. Train with: digits train --models {tmp_path}\n"
    )


def test_a_worse_training_leaves_the_served_model_and_says_so(trained, tmp_path, digits):
    folder, _ = trained
    shutil.copytree(folder / "models", tmp_path / "models")
    finished = digits("train", "a", "--limit", "600", "--epochs", "1", "--seed", "3", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    served = results.served_result(folder / "models")
    accuracy = f"accuracy on distorted validation images {served.distorted_accuracy:.4f}"
    expected = f"digits  stays at model {served.model} ({accuracy})"
    assert expected in finished.stderr
    assert "To serve it all the same: digits promote A" in finished.stderr
    assert list(list_versions(tmp_path / "models" / "digits")) == [1]
    assert list(list_versions(tmp_path / "models" / "A")) == [1, 2]


@pytest.fixture(scope="module")
def unheard(command, tmp_path_factory):
    """The same training twice, on a core each: one cannot write its words, and what reads the other's leaves."""
    folder = tmp_path_factory.mktemp("unheard")

    def training(name, unread, core):
        train = f"{command} train A --limit 600 --epochs 2 --runs {name} --models {name}/models"
        shell = f"({train} >{name}.table; echo $? >{name}.code) {unread}"
        buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
        pinned = {"preexec_fn": lambda: os.sched_setaffinity(0, {core(os.sched_getaffinity(0))}), "env": buffered}
        return subprocess.Popen(shell, shell=True, cwd=folder, stdout=subprocess.DEVNULL, **pinned)

    with training("full", "2>/dev/full", min), training("left", "2>&1 | head -1", max):
        pass
    return folder


@pytest.mark.parametrize("name", ["full", "left"])
def test_a_training_whose_words_cannot_be_written_goes_on(unheard, name):
    assert (unheard / f"{name}.code").read_text() == "0\n"
    assert "Similar to LeNet" in (unheard / f"{name}.table").read_text()


def test_the_same_seed_on_one_thread_gives_the_same_weights(unheard):
    from training import layers

    def weights(name):
        [run_dir] = (unheard / name).glob("A_*")
        assert results.read(run_dir).device == "CPU, 1 thread"
        return layers.load(run_dir / "model.keras").get_weights()

    for one, other in zip(weights("full"), weights("left"), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["D", "--device", "gpu"],
            2,
            "error: no GPU found. Train with --device cpu, or pip install 'mnist-digits[gpu]'",
        ),
        (["D", "--data", "nowhere"], 1, "error: nowhere: no such file. Pass an mnist.npz or a folder of IDX files"),
    ],
)
def test_what_cannot_be_trained_is_one_line_and_an_exit_code(tmp_path, digits, arguments, code, message):
    finished = digits("train", *arguments, cwd=tmp_path)
    assert finished.returncode == code
    assert finished.stdout == ""
    last = finished.stderr.splitlines()[-1]
    assert last.startswith(message), finished.stderr
    assert "Traceback" not in finished.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["runs"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["A", "--ensemble", "3"], "an ensemble of 3 needs as many trainings, not 1: give more models, or --seeds"),
        (["a", "B", "A", "--ensemble", "3"], "an ensemble of 3 needs as many trainings, not 2"),
        (
            ["A", "--seed", "4294967295", "--seeds", "2"],
            "the last seed is 4294967296: give --seed and --seeds",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused_before_the_training(tmp_path, digits, arguments, message):
    finished = digits("train", *arguments, cwd=tmp_path)
    assert (finished.returncode, finished.stdout, finished.stderr.count("\n")) == (2, "", 1)
    assert finished.stderr.startswith(f"error: {message}")
    assert not [*tmp_path.iterdir()]


def test_a_seed_that_numpy_does_not_take_is_wrong_usage(tmp_path, digits):
    finished = digits("train", "A", "--seed", 2**32, cwd=tmp_path)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert "4294967296 is not in the range 0<=x<=4294967295" in " ".join(finished.stderr.replace("│", " ").split())
    assert not [*tmp_path.iterdir()]


def test_an_unknown_letter_is_answered_with_the_valid_ones(digits):
    finished = digits("train", "Q")
    assert finished.returncode == 2
    assert "'Q' is no model: give letters from A to H." in " ".join(finished.stderr.replace("│", " ").split())


def test_a_file_in_the_way_of_the_models_is_one_line(trained, tmp_path, digits):
    (tmp_path / "models").write_text("in the way")
    finished = digits("export", next((trained[0] / "runs").glob("A_*")), "--models", tmp_path / "models")
    assert finished.returncode == 1
    assert finished.stderr.count("\n") == 1, finished.stderr
    assert "Not a directory" in finished.stderr


def test_an_unfinished_run_is_not_exported_and_costs_the_others_nothing_whatever_their_folders_name(
    trained, tmp_path, digits
):
    why = f"{tmp_path}/result.json: not a finished run ("
    finished = digits("export", tmp_path)
    assert (finished.returncode, finished.stderr.count("\n")) == (1, 1)
    assert finished.stderr.startswith(f"error: {why}")
    renamed = shutil.copytree(next((trained[0] / "runs").glob("A_*")), tmp_path / "mine")
    finished = digits("export", tmp_path, renamed, cwd=tmp_path)
    assert (finished.returncode, list(list_versions(tmp_path / "models" / "A"))) == (0, [1])
    assert finished.stderr.startswith(f"left out: {why}")


def test_without_room_for_a_version_the_folder_of_the_models_is_named(trained, tmp_path, digits):
    """The one file is written anew into the version, the other one copied."""
    for letter, name in (("A", "config.json"), ("B", "evaluation.json")):
        large = shutil.copytree(next((trained[0] / "runs").glob(f"{letter}_*")), tmp_path / letter) / name
        large.write_text(json.dumps(json.loads(large.read_text()) | {"large": "x" * 1_000_000}))

    def no_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (900_000, 900_000))  # the weights of a version have 0.7 MB

    models = tmp_path / "models"
    finished = digits("export", tmp_path / "A", tmp_path / "B", "--models", models, preexec_fn=no_room)
    assert (finished.returncode, finished.stderr.count("\n")) == (1, 2)
    for letter, line in zip("AB", sorted(finished.stderr.splitlines()), strict=True):
        assert line.startswith(f"error: {letter}: {models}")
        assert ": File too large. Mend that and run the same command" in line


def interrupt_at(command, start, folder, *arguments):
    """Train one model after the other until a line begins so, press Ctrl-C, and give the exit code and all lines."""
    options = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([command, *TRAIN, "--jobs", "1", *arguments], **options) as training:
        lines = []
        for line in training.stderr:
            lines.append(line)
            if line.startswith(start):
                training.send_signal(signal.SIGINT)
                break
        lines += training.stderr.readlines()
    return training.returncode, lines


def test_ctrl_c_keeps_what_is_finished(unconcluded, command):
    shutil.rmtree(unconcluded / "models")
    shutil.rmtree(next(unconcluded.glob("runs/A_*")))
    code, lines = interrupt_at(command, "A  epoch 1/", unconcluded)
    assert code == 130, lines
    assert any(line.startswith("interrupted: 1 of 2 finished") for line in lines)
    assert list_versions(unconcluded / "models" / "B")  # the larger one is trained first
    assert not (unconcluded / "models" / "A").exists()
    assert "Traceback" not in "".join(lines)
    assert not list(unconcluded.glob("runs/*/concluded")), "the same command goes on with both"


def test_ctrl_c_while_the_ensemble_is_made_keeps_its_members(unconcluded, command):
    shutil.rmtree(unconcluded / "models")
    code, lines = interrupt_at(command, "A  done", unconcluded, "--ensemble", "2")
    assert code == 130, lines
    assert any(line.startswith("interrupted: 2 of 2 finished") for line in lines)
    assert {path.name for path in (unconcluded / "models").iterdir()} == {"A", "B", "digits"}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_export_is_one_line(trained, tmp_path, command, wait_until, number, code):
    run_dir = next((trained[0] / "runs").glob("A_*"))
    with subprocess.Popen([command, "export", run_dir], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as exporting:
        wait_until(lambda: [*tmp_path.glob("models/A/.staging-*")])
        exporting.send_signal(number)
        said = exporting.stderr.read()
    assert (exporting.returncode, said) == (code, "interrupted: 0 of 1 exported. The same command exports the rest\n")


def test_after_an_interrupted_export_the_same_command_exports_the_rest(unconcluded, digits):
    shutil.rmtree(unconcluded / "models" / "B")
    finished = digits(*TRAIN, cwd=unconcluded)
    assert (finished.returncode, "A  exported" in finished.stderr) == (0, False), finished.stderr
    assert "B  exported and checked: models/B/1" in finished.stderr
    assert {path.name: [*list_versions(path)] for path in (unconcluded / "models").iterdir()} == dict.fromkeys(
        ["A", "B", "digits"], [1]
    )


def test_a_version_with_other_figures_is_not_taken_for_the_one_to_export(model_root):
    rows = [results.own_result(model_root / letter / "1") for letter in "AB"]
    assert results.holds(model_root / "A" / "1", rows[0].run, rows)
    assert not results.holds(model_root / "A" / "1", rows[0].run, [results.of_seeds([rows[0], *rows[:1]]), rows[1]])


def test_on_a_low_terminal_the_bars_are_those_heard_from_last(monkeypatch):
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "LINES": "24", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)
    display = Display()
    for number in [*range(35), 3]:
        display.show(Progress(f"seed {number}", 1, 2))
    shown = [task.fields["name"] for task in display.bars.tasks if task.visible]
    assert shown == ["seed 3", *(f"seed {number}" for number in range(13, 35))]


def test_sixty_seconds_left_are_a_minute(capsys):
    display = Display()
    display.started["A"] = time.monotonic() - 59.7, 0
    display.show(Progress("A", 1, 2, 0.1, 0.9))
    assert capsys.readouterr().err.endswith("A  epoch 1/2  loss 0.1000  val accuracy 0.9000  1:00 left\n")


def dies(report):
    import os

    report("alive")
    os.kill(os.getpid(), signal.SIGKILL)


def raises(report):
    raise KeyError("pages\nand pages")


def sleeps(report):
    report("sleeping")
    time.sleep(60)


def test_a_worker_that_is_killed_costs_the_others_nothing(tmp_path):
    log = tmp_path / "log.txt"
    outcome = list(workers.run([("D", dies, log), ("E", raises, log)], parallel=2))
    failed = {message.name: message.error for message in outcome if isinstance(message, workers.Failed)}
    assert failed["D"] == f"D: the process ended with code -9 (-9: out of memory?). See {log}"
    assert failed["E"] == f"E: KeyError: 'pages\\nand pages'. The whole story is in {log}"
    assert "raise KeyError" in log.read_text()


def fills_the_disk(report):
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    raise OSError(28, "No space left on device", "runs")


def test_a_worker_says_what_is_full_also_where_its_log_is(tmp_path):
    [failed] = workers.run([("D", fills_the_disk, tmp_path / "log.txt")], parallel=1)
    assert failed.error.startswith("D: runs: No space left on device. Mend that and run the same command")


def test_a_worker_whose_log_cannot_be_written_says_so(tmp_path, capfd):
    log = tmp_path / "gone" / "log.txt"
    [failed] = workers.run([("D", dies, log)], parallel=1)
    assert failed.error.startswith(f"D: {log}: No such file or directory. Mend that")
    assert capfd.readouterr() == ("", "")


def test_leaving_early_ends_the_workers(tmp_path):
    started = time.monotonic()
    for message in workers.run([("A", sleeps, tmp_path / "log.txt")], parallel=1):
        assert message == "sleeping"
        break
    assert time.monotonic() - started < 30


def row(letter, distorted_accuracy, val_loss=0.1, accuracy=0.5):
    fields = dict.fromkeys(results.Result.__dataclass_fields__, 0) | {"seed_accuracies": []}
    own = {"model": letter, "run": letter, "val_loss": val_loss, "accuracy": accuracy}
    return results.Result(**fields | own | {"distorted_accuracy": distorted_accuracy})


def test_the_choice_is_by_validation_and_never_by_test():
    rows = [row("A", 0.98), row("B", 0.99, 0.2), row("C", 0.99, 0.1)]
    assert results.best(rows).model == "C"
    assert results.best([replace(one, accuracy=1 - one.distorted_accuracy) for one in rows]).model == "C"


@pytest.mark.parametrize(("errors", "chosen"), [(16, "G"), (13, "G"), (12, "G"), (11, "ensemble")])
def test_an_ensemble_is_chosen_only_for_more_than_a_standard_error(errors, chosen):
    """A count of 16 errors has a standard error of 4."""
    rows = [row("G", 1 - 16 / 5000), row("ensemble", 1 - errors / 5000, 0.05), row("A", 0.99)]
    assert results.best(rows).model == chosen


def test_distorted_digits_are_harder_and_counted_over_ten_times_as_many(model_root):
    for one in results.gather(model_root).values():
        assert 0.8 < one.distorted_accuracy < one.val_accuracy
        assert one.distorted_accuracy * 50_000 == pytest.approx(round(one.distorted_accuracy * 50_000))


def test_an_ensemble_alone_is_chosen():
    assert results.best([row("ensemble", 0.9)]).model == "ensemble"


SHUFFLED = """
import dataclasses, json, sys
from pathlib import Path
import numpy as np
from training import data, results
from training.job import Job
from training.train import train_on
mnist = data.load()
if sys.argv[2] == "shuffled":
    labels = np.random.default_rng(1).permutation(mnist.y_test)
    mnist = dataclasses.replace(mnist, y_test=labels)
rows = []
for letter, seed in (("A", 1), ("A", 2), ("C", 1)):
    run_dir = Path(sys.argv[1]) / f"{letter}{seed}"
    run_dir.mkdir(parents=True)
    job = Job(letter=letter, recipe="notebook", run_dir=run_dir, seed=seed, epochs=3, limit=3000)
    rows.append(train_on(mnist, job, lambda progress: None))
best = results.best(rows)
print(json.dumps([best.run, best.distorted_accuracy, best.epochs, best.accuracy]))
"""


def test_with_shuffled_test_labels_the_same_model_is_chosen(tmp_path):
    def choosing(labels):
        command = [sys.executable, "-c", SHUFFLED, tmp_path / labels, labels]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    with choosing("true") as one, choosing("shuffled") as other:
        *chosen, accuracy = json.loads(one.communicate()[0])
        *same, shuffled_accuracy = json.loads(other.communicate()[0])
    assert chosen == same
    assert accuracy > 0.8
    assert shuffled_accuracy < 0.2


def test_of_several_seeds_the_best_by_validation_is_exported_with_the_spread_of_all(several):
    folder, _ = several
    rows = [json.loads(path.read_text()) for path in sorted((folder / "runs").glob("A_*/result.json"))]
    exported = results.own_result(folder / "models" / "A" / "1")
    assert [row["seed"] for row in rows] == [1, 2]
    assert exported.run == max(rows, key=lambda row: (row["distorted_accuracy"], -row["val_loss"]))["run"]
    accuracies = [row["accuracy"] for row in rows]
    assert exported.spread == (statistics.mean(accuracies), statistics.stdev(accuracies), 2)
    assert len(list((folder / "models" / "A").iterdir())) == 1


def test_an_ensemble_answers_with_the_mean_of_its_members(several, mnist_test):
    from training import layers

    folder, finished = several
    assert "ensemble  exported and checked: models/ensemble/1" in finished.stderr
    assert "The mean of A (seed" in finished.stdout
    images = mnist_test[0][:50, ..., None].astype(np.float32)

    def answers(pattern):
        paths = (folder / "runs").glob(f"{pattern}/model.keras")
        return [layers.load(path)(images).numpy() for path in paths]

    [mean] = answers("ensemble_*")
    np.testing.assert_allclose(mean, np.mean(answers("A_*"), axis=0), atol=1e-6)


def test_an_ensembles_figures_of_training_images_are_of_those_that_were(several):
    row = results.own_result(several[0] / "models" / "ensemble" / "1")
    assert row.train_accuracy * 3000 == pytest.approx(round(row.train_accuracy * 3000), abs=1e-6)


def test_the_cards_name_the_options_of_the_training(several):
    models = several[0] / "models"
    seed = results.own_result(models / "A" / "1").seed
    asked = {"A": f"--epochs 2 --seed {seed} --limit 3000", "ensemble": "--epochs 2 --seed 1 --limit 3000 --seeds 2"}
    for name, options in asked.items():
        card = (models / name / "1" / MODEL_CARD_FILE).read_text()
        assert f"`digits train A --recipe tuned {options}{' --ensemble 2' * (name == 'ensemble')}`" in card
        assert "training images, rotated, scaled, sheared, " in card
        assert (f"`tuned`, seed {seed}, " in card) == (name == "A")


def test_the_ensemble_is_served_when_it_has_earned_it(several):
    folder, finished = several
    rows = [*results.gather(folder / "models").values()]
    chosen, first = results.best(rows).model, results.ranked(rows)[0].model
    assert f"digits  version 1 is model {chosen} " in finished.stderr
    assert (f"digits promote {first}" in finished.stderr) == (first != chosen)


def offer(models, name, wrong):
    """Give a version's model so many errors on distorted images, and offer it as an export does."""
    version = models / name / "1"
    content = results.benchmark(version)
    [own] = [row for row in content["results"] if row["run"] == content["run"]]
    own["distorted_accuracy"] = 1 - wrong / 5000
    (version / BENCHMARK_FILE).write_text(json.dumps(content))
    promotion.promote(models, [results.own_result(version)], {name: version})


@pytest.fixture
def exports(several, tmp_path):
    """The versions of A and the ensemble, neither promoted."""
    return shutil.copytree(several[0] / "models", tmp_path / "models", ignore=shutil.ignore_patterns("digits"))


@pytest.mark.parametrize(("errors", "versions"), [(13, [1]), (11, [1, 2])])
def test_an_ensemble_must_have_earned_it_against_what_is_served_too(exports, capsys, errors, versions):
    offer(exports, "A", 16)
    offer(exports, "ensemble", errors)
    assert list(list_versions(exports / "digits")) == versions
    said = capsys.readouterr().err
    note = f"ensemble  makes {errors}.0 errors on distorted validation images and A 16.0: within a standard error"
    assert (note in said) == ("digits  stays at model A" in said) == (versions == [1])


def test_a_worse_model_never_replaces_an_ensemble_that_somebody_has_promoted(exports, capsys):
    offer(exports, "ensemble", 13)
    capsys.readouterr()
    offer(exports, "A", 16)
    assert capsys.readouterr().err == (
        "digits  stays at model ensemble (accuracy on distorted validation images 0.9974): the best trained now, A, has"
        f" 0.9968. To serve it all the same: digits promote A --models {exports}\n"
    )
    assert list(list_versions(exports / "digits")) == [1]


def test_of_several_runs_of_a_model_the_best_is_exported(several, digits, tmp_path):
    runs = several[0] / "runs"
    best, worse = results.ranked([results.read(run_dir) for run_dir in runs.glob("A_*")])
    finished = digits("export", runs / best.run, runs / worse.run, "--models", tmp_path)
    assert (finished.returncode, [line for line in finished.stderr.splitlines() if "error" in line]) == (0, [])
    assert results.served_result(tmp_path).run == best.run

    finished = digits("export", runs / worse.run, "--models", tmp_path)
    assert "digits  stays at model A" in finished.stderr
    rows = results.gather(tmp_path)
    assert [(path.parent.name, row.run, row.served) for path, row in rows.items()] == [("digits", best.run, True)]


@pytest.mark.parametrize("content", ["{", "{}", '{"run": 1, "results": [null]}', '{"run": 1, "results": [{"run": 1}]}'])
def test_a_version_that_cannot_be_read_costs_nothing_else(model_root, digits, tmp_path, content):
    models = shutil.copytree(model_root, tmp_path / "models")
    for name in ("A", "digits"):
        (models / name / "1" / BENCHMARK_FILE).write_text(content)
    finished = digits("results", "--json", "--models", models)
    assert [row["model"] for row in json.loads(finished.stdout)] == ["B"]
    assert [line.partition(": ")[0] for line in finished.stderr.splitlines()] == ["left out"] * 2
    assert str(models / "A" / "1") in finished.stderr


@pytest.mark.parametrize(
    "wrong", [{"accuracy": "x"}, {"accuracy": math.nan}, {"distorted_accuracy": None}, {"seed_accuracies": [1]}]
)
def test_a_row_whose_figures_are_none_is_not_taken(tmp_path, wrong):
    (tmp_path / BENCHMARK_FILE).parent.mkdir()
    (tmp_path / BENCHMARK_FILE).write_text(json.dumps({"run": "A", "results": [asdict(row("A", 0.99)) | wrong]}))
    with pytest.raises(DigitsError, match="has no such row as this version of digits writes"):
        results.own_result(tmp_path)


def test_what_is_served_stays_when_it_cannot_be_compared(exports, capsys):
    offer(exports, "A", 16)
    (exports / "digits" / "1" / BENCHMARK_FILE).unlink()
    offer(exports, "A", 1)
    assert f"digits  stays as it is: {exports}/digits/1: no readable benchmark" in capsys.readouterr().err
    assert list(list_versions(exports / "digits")) == [1]


@pytest.fixture(scope="module")
def several(digits, tmp_path_factory):
    """A with two seeds, and both as one model."""
    folder = tmp_path_factory.mktemp("several")
    finished = digits("train", "A", "--seeds", "2", "--ensemble", "2", "--limit", "3000", "--epochs", "2", cwd=folder)
    assert finished.returncode == 0, finished.stderr
    return folder, finished


def test_what_to_run_instead_names_the_model_root(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for root, option in (("models", " --models models"), ("my own", " --models 'my own'")):
        extra = Path(root) / "digits" / "1" / BENCHMARK_FILE
        extra.parent.mkdir(parents=True)
        extra.write_text(json.dumps({"run": "A", "results": [asdict(row("A", 0.99))]}))
        promotion.promote(Path(root), [row("B", 0.98)], {})
        assert capsys.readouterr().err.endswith(f" To serve it all the same: digits promote B{option}\n")
        extra.unlink()
        promotion.promote(Path(root), [row("B", 0.98)], {})
        assert capsys.readouterr().err.endswith(f" Or run: digits promote B{option}\n")


def test_errors_are_counted_of_the_test_half_and_of_all():
    assert replace(row("A", 0.5), val_accuracy=0.99, accuracy=0.998).errors == (10, 60)


def test_a_new_result_replaces_the_models_old_row():
    merged = pipeline.merge([row("A", 0.1), row("C", 0.2)], [row("C", 0.3), row("B", 0.4)])
    assert [(one.model, one.distorted_accuracy) for one in merged] == [("A", 0.1), ("B", 0.4), ("C", 0.3)]


def test_samples_are_dark_on_white_at_200_pixels_named_by_their_digit(tmp_path, digits):
    finished = digits("samples", tmp_path / "samples", "--count", "12")
    assert finished.stderr == f"wrote 12 images to {tmp_path}/samples. next: digits classify {tmp_path}/samples/*.png\n"
    paths = sorted((tmp_path / "samples").iterdir())
    assert [path.stem[-1] for path in paths] == list("721041495906")
    image = Image.open(paths[0])
    pixels = np.asarray(image)
    assert (image.size, image.mode) == ((200, 200), "L")
    assert pixels[0, 0] == 255
    assert pixels.min() < 40
