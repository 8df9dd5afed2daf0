"""Real things that the tests share: MNIST, a limited training with its exports, and a running embedded server."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

DIGITS = str(Path(sys.executable).with_name("digits"))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a developer has set must not change what the commands do or print."""
    for name in [*os.environ]:
        if name.startswith("DIGITS_") or name in ("FORCE_COLOR", "NO_COLOR", "GITHUB_ACTIONS", "COLUMNS"):
            monkeypatch.delenv(name)


def run(*arguments: str | Path, **options) -> subprocess.CompletedProcess[str]:
    """Run the `digits` command as a person would, and wait for it."""
    return subprocess.run([DIGITS, *map(str, arguments)], capture_output=True, text=True, timeout=280, **options)


@pytest.fixture(scope="session")
def digits():
    return run


@pytest.fixture(scope="session")
def command() -> str:
    """The path of the installed `digits` command, for tests that must talk to it while it runs."""
    return DIGITS


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A real but short training of A and B: its folder (with models/ and runs/) and what the command printed."""
    folder = tmp_path_factory.mktemp("trained")
    finished = run("train", "A", "B", "--limit", "12000", "--epochs", "3", cwd=folder)
    assert finished.returncode == 0, finished.stderr
    return folder, finished


@pytest.fixture(scope="session")
def model_root(trained: tuple[Path, object]) -> Path:
    """Exported versions digits/1, A/1 and B/1. Read only: copy what you change."""
    return trained[0] / "models"


@pytest.fixture(scope="session")
def mnist_test() -> tuple[np.ndarray, np.ndarray]:
    """The 10,000 test images, uint8 [10000, 28, 28], and their labels."""
    from training.data import load

    mnist = load()
    return np.concatenate([mnist.x_val, mnist.x_test]), np.concatenate([mnist.y_val, mnist.y_test])


@pytest.fixture(scope="session")
def served(model_root: Path) -> Iterator[str]:
    """The address of an embedded server on the trained models."""
    command = [DIGITS, "serve", "--models", str(model_root), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        lines = []
        for line in server.stderr:
            lines.append(line)
            if found := re.search(r"127\.0\.0\.1:\d+", line):
                yield found[0]
                break
        else:
            pytest.fail(f"no address in what the server printed: {lines}")
        server.terminate()
