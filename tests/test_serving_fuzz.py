"""Fuzzed requests: the server lives, every answer is a documented status, and right answers stay right."""

from itertools import islice
from pathlib import Path

import pytest

from benchmarks import fuzz


@pytest.mark.parametrize("seed", [1, 2])
def test_thousands_of_fuzzed_requests_get_documented_answers(root: Path, start, seed: int) -> None:
    server = start(root)
    seen = fuzz.run(server.address, 1500, seed)
    assert seen.total() == 1500
    assert set(seen) >= {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "INTERNAL", "PERMISSION_DENIED"}
    assert server.version() == 1
    assert [line for line in server.lines if "Traceback" in line] == []
    assert server.stop() == 0


def test_the_requests_are_the_same_for_a_seed_and_others_for_another() -> None:
    first, again, other = (list(islice(fuzz.requests(seed), 200)) for seed in (1, 1, 2))
    assert first == again != other


def test_an_undocumented_answer_is_a_surprise(root: Path, start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fuzz.DOCUMENTED, fuzz.PREDICT, {"OK"})
    with pytest.raises(fuzz.Surprise, match="Predict answered "):
        fuzz.run(start(root).address, 200, 1)
