"""A short soak: versions swap, break and reload under load, and no answer is wrong or missing."""

from pathlib import Path

import pytest

from benchmarks import soak


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
