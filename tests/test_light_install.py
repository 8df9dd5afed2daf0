"""The built wheel installs light: classify without TensorFlow, serve without TensorFlow."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT], check=True, capture_output=True
    )
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def install(wheel, tmp_path_factory):
    """Install the wheel with an extra ("" for none) into an environment of its own; gives its bin folder."""

    def make(extra):
        folder = tmp_path_factory.mktemp("environment")
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        what = f"{wheel}[{extra}]" if extra else str(wheel)
        constraint = ["--constraint", str(ROOT / "requirements.txt")]
        subprocess.run([folder / "bin/pip", "install", "--quiet", *constraint, what], check=True, capture_output=True)
        return folder / "bin"

    return make


def has(binaries, module):
    program = f"import importlib.util; print(importlib.util.find_spec({module!r}) is not None)"
    return subprocess.check_output([binaries / "python", "-c", program], text=True) == "True\n"


def test_the_base_install_classifies_and_has_no_tensorflow(install, served, digits, tmp_path):
    binaries = install("")
    digits("samples", tmp_path)
    assert not has(binaries, "tensorflow")
    assert not has(binaries, "ai_edge_litert")
    command = [binaries / "digits", "classify", *sorted(tmp_path.glob("*.png")), "--server", served, "--json"]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    answers = [json.loads(line) for line in finished.stdout.splitlines()[:-1]]
    assert len(answers) == 10
    assert sum(answer["file"].endswith(f"{answer['digit']}.png") for answer in answers) >= 8
    serving = subprocess.run([binaries / "digits", "serve"], capture_output=True, text=True, cwd=tmp_path)
    assert (serving.returncode, serving.stdout) == (1, "")
    assert serving.stderr.count("\n") == 1
    assert "pip install 'mnist-digits[serving]'" in serving.stderr
    training = subprocess.run([binaries / "digits", "train"], capture_output=True, text=True, cwd=tmp_path)
    assert (training.returncode, training.stdout) == (1, "")
    assert training.stderr == "error: tensorflow is not installed. Run: pip install 'mnist-digits[training]'\n"


def test_the_serving_extra_serves_without_tensorflow(install, model_root, server, digits, tmp_path):
    binaries = install("serving")
    digits("samples", tmp_path)
    assert not has(binaries, "tensorflow")
    running = server([binaries / "digits", "serve", "--models", model_root, "--port", "0"], cwd=tmp_path)
    command = [binaries / "digits", "classify", *tmp_path.glob("*.png"), "--server", running.address]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert running.stop() == 0
    assert finished.returncode == 0, finished.stderr
