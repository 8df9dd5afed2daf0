"""A benchmark that measures less than it was told to says so, or measures it."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.client import write_digits
from benchmarks.servers import newest, running
from client.contract import PREDICTION_SERVICE

ROOT = Path(__file__).parent.parent


def test_a_load_whose_calls_fail_has_no_figures(served, tmp_path):
    (tmp_path / "request").write_bytes(b"no request")
    arguments = [served, f"/{PREDICTION_SERVICE}/Predict", tmp_path / "request", "2", "0.2"]
    command = [sys.executable, "-m", "benchmarks.load", *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert "StatusCode." in finished.stderr


def test_a_server_that_nobody_has_heard_of_is_not_measured(model_root):
    command = [sys.executable, "-m", "benchmarks.serving", "--models", model_root, "--only", "usual", "unusual"]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert "no server unusual: there are embedded, embedded x2, usual, FastAPI, " in finished.stderr


def test_a_server_that_does_not_start_ends_a_benchmark_with_its_reason(tmp_path):
    with pytest.raises(SystemExit) as ended, running("serving", "serve", "--config", str(tmp_path / "nowhere")):
        pass
    assert str(ended.value).startswith(f"error: {tmp_path}/nowhere: No such file or directory. ")


def test_a_benchmark_without_its_model_says_what_to_run(tmp_path):
    models = tmp_path / "my models"
    with pytest.raises(SystemExit, match=f"^no version of D in {models}. Run: digits train --models '{models}'$"):
        newest(models, "D")


def test_more_digits_than_there_are_begin_again_with_the_first(tmp_path):
    write_digits(tmp_path / "small", 10_001)
    assert len([*(tmp_path / "small").iterdir()]) == 10_001
    assert (tmp_path / "small/10000.png").read_bytes() == (tmp_path / "small/0.png").read_bytes()
