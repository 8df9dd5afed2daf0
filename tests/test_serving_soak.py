"""A short soak: versions swap, break and reload under load, and no answer is wrong or missing."""

import shutil
from pathlib import Path

import pytest

from benchmarks import soak


def test_what_ends_beside_the_requests_is_not_passed_over(model_root: Path, tmp_path: Path) -> None:
    models = shutil.copytree(model_root, tmp_path / "trained")
    run = soak.Soak(models, tmp_path)
    shutil.rmtree(models)
    run.beside(run.swap, 0, server=None)
    assert [what for what in run.seen if what.startswith("UNEXPLAINED end of swap: FileNotFoundError")]


@pytest.mark.slow
def test_no_answer_is_wrong_or_missing_while_everything_happens(model_root: Path) -> None:
    seen, memory = soak.run(model_root, 5000, seconds=240, swap_seconds=0.2)
    assert seen["answers"] == 5000
    assert [what for what in seen if what.startswith(("UNEXPLAINED", "WRONG"))] == []
    assert seen["versions"] > 1
    assert seen["broken versions"] > 0
    assert seen["reloads answered UNKNOWN"] > 0
    assert seen["slow calls"] > 0
    assert len(memory) > 1
