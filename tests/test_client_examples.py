"""The examples, run as they are against the real server: Python, Node over gRPC, curl over REST."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from client import Client

CLIENT = Path(__file__).parent.parent / "client"
STROKE = np.zeros((28, 28), np.uint8)
STROKE[4:24, 13:16] = 255


@pytest.fixture(scope="module")
def expected(served: str):
    """What our own client says to the examples' image."""
    with Client(served) as client:
        return client.classify([STROKE])[0]


@pytest.fixture(scope="module")
def predict_mjs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Node example in a folder with our .proto files, and what its first line says to install."""
    missing = [name for name in ("node", "npm") if not shutil.which(name)]
    if missing:
        lack = pytest.fail if "CI" in os.environ else pytest.skip
        lack(f"{' and '.join(missing)} not installed: the Node example was not tried")
    folder = tmp_path_factory.mktemp("node")
    for name in ("examples/predict.mjs", "proto/serving.proto", "proto/tensor.proto"):
        (folder / "client" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CLIENT / name, folder / "client" / name)
    example = folder / "client/examples/predict.mjs"
    install = re.search(r"npm install [^&]+", example.read_text())[0].split()
    command = [*install, "--prefix", folder, "--no-audit", "--no-fund"]
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return example


@pytest.mark.parametrize("example", ["classify.py", "classify_async.py"])
def test_the_python_examples_classify_files(example, served, mnist_test, tmp_path) -> None:
    Image.fromarray(mnist_test[0][0]).save(tmp_path / "seven.png")
    Image.new("L", (50, 50), 255).save(tmp_path / "blank.png")
    finished = subprocess.run(
        [sys.executable, CLIENT / "examples" / example, "seven.png", "blank.png"],
        cwd=tmp_path,
        env=os.environ | {"DIGITS_SERVER": served},
        capture_output=True,
        text=True,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    first, second = finished.stdout.splitlines()
    assert first.startswith("seven.png: 7")
    assert second.startswith("blank.png: ")


def test_a_name_that_is_no_text_is_printed_all_the_same(tmp_path) -> None:
    Image.new("L", (50, 50), 255).save(tmp_path / "\udcff.png")
    finished = subprocess.run(
        [sys.executable, CLIENT / "examples/classify.py", "\udcff.png"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"},
        capture_output=True,
        text=True,
    )
    assert (finished.stdout, finished.stderr) == ("\\udcff.png: no digit\n", "")


def test_node_with_only_our_proto_files_gets_the_same_answer(predict_mjs: Path, served: str, expected) -> None:
    finished = subprocess.run(["node", predict_mjs, served], capture_output=True, text=True, timeout=60)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout == f"digit {expected.digit}, probability {expected.probability:.4f}\n"


def test_node_tells_what_is_wrong_though_its_http2_drops_texts_that_end_in_a_blank(predict_mjs, served) -> None:
    wrong = predict_mjs.with_name("wrong.mjs")
    wrong.write_text(predict_mjs.read_text().replace("images: {", "image: {"))
    finished = subprocess.run(["node", wrong, served], capture_output=True, text=True, timeout=60)
    assert finished.returncode == 1
    assert "Signature input alias: images" in finished.stderr


def test_node_without_a_server_says_so_in_one_line(predict_mjs: Path) -> None:
    finished = subprocess.run(["node", predict_mjs, "127.0.0.1:1"], capture_output=True, text=True, timeout=60)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert re.fullmatch(r"error: 14 UNAVAILABLE: .+\n", finished.stderr)


def test_curl_gets_the_same_answer_and_the_results_table(endpoints: dict[str, str], expected) -> None:
    command = ["sh", CLIENT / "examples/predict.sh", endpoints["REST"]]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (finished.returncode, finished.stderr) == (0, "")
    answers, table = (json.loads(line)["predictions"] for line in finished.stdout.splitlines())
    assert answers[0]["digit"] == expected.digit
    np.testing.assert_array_equal(np.float32(answers[0]["probabilities"]), np.float32(expected.probabilities))
    assert [row["model"] for row in table] == ["A", "B"]


def test_curl_without_a_server_fails(tmp_path: Path) -> None:
    command = ["sh", CLIENT / "examples/predict.sh", "127.0.0.1:1"]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert finished.returncode == 7  # curl's own code
    assert finished.stderr.startswith("curl: (7) ")
