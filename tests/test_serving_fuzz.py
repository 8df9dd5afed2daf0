"""Fuzzed requests: the server lives, every answer is a documented status, and right answers stay right."""

from itertools import islice
from pathlib import Path

import pytest

from benchmarks import fuzz_grpc, fuzz_rest


@pytest.mark.parametrize("seed", [1, 2])
def test_thousands_of_fuzzed_requests_get_documented_answers(root: Path, start, seed: int) -> None:
    server = start(root)
    seen = fuzz_grpc.run(server.address, 1500, seed)
    assert seen.total() == 1500
    assert set(seen) >= {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "INTERNAL", "PERMISSION_DENIED"}
    assert server.version() == 1
    assert [line for line in server.lines if "Traceback" in line] == []
    assert server.stop() == 0


def test_thousands_of_fuzzed_http_messages_get_documented_answers(launch, root: Path) -> None:
    server = launch(models=root)
    seen = fuzz_rest.run(server.endpoints["REST"], 2407, 1)
    assert seen.total() == 2407
    assert set(seen) >= {"200", "400", "404", fuzz_rest.CLOSED}
    assert server.version() == 1
    assert [line for line in server.lines if "Traceback" in line] == []
    assert server.stop() == 0


@pytest.mark.parametrize("fuzz", [fuzz_grpc, fuzz_rest])
def test_the_requests_are_the_same_for_a_seed_and_others_for_another(fuzz) -> None:
    first, again, other = (list(islice(fuzz.requests(seed), 200)) for seed in (1, 1, 2))
    assert first == again != other


def test_an_undocumented_answer_is_a_surprise(root: Path, start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fuzz_grpc.DOCUMENTED, fuzz_grpc.PREDICT, {"OK"})
    with pytest.raises(fuzz_grpc.Surprise, match="Predict answered "):
        fuzz_grpc.run(start(root).address, 200, 1)


def test_an_undocumented_http_code_is_a_surprise(launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_rest, "DOCUMENTED", {200, 404, 501})
    with pytest.raises(fuzz_grpc.Surprise, match="400 is the answer to b"):
        fuzz_rest.run(launch().endpoints["REST"], 400, 1)
