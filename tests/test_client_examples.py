"""The examples under client/examples do what they say, against a real server."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = Path(__file__).parent.parent / "client/examples"


@pytest.mark.parametrize("example", ["classify.py", "classify_async.py"])
def test_the_python_examples_classify_files(example, served, mnist_test, tmp_path):
    Image.fromarray(mnist_test[0][0]).save(tmp_path / "seven.png")
    Image.new("L", (50, 50), 255).save(tmp_path / "blank.png")
    finished = subprocess.run(
        [sys.executable, EXAMPLES / example, "seven.png", "blank.png"],
        cwd=tmp_path,
        env=os.environ | {"DIGITS_SERVER": served},
        capture_output=True,
        text=True,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    first, second = finished.stdout.splitlines()
    assert first.startswith("seven.png: 7")
    assert second.startswith("blank.png: ")
