"""`digits status` as a person, a script or a health check runs it: table, JSON, exit codes, waiting."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest


def test_a_person_gets_a_table_with_the_served_version_marked(digits, served) -> None:
    finished = digits("status", "--server", served)
    assert (finished.returncode, finished.stderr) == (0, "")
    header, row = finished.stdout.splitlines()
    assert header.split() == ["model", "version", "state"]
    assert row.split() == ["digits", "1", "AVAILABLE", "served"]


def test_a_program_gets_one_json_document(digits, served) -> None:
    finished = digits("status", "--server", served, "--model", "A", "--json")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert json.loads(finished.stdout) == {
        "server": served,
        "model": "A",
        "ready": True,
        "versions": [{"version": 1, "state": "AVAILABLE", "error": ""}],
    }


def test_without_an_available_version_it_says_why_and_ends_with_1(digits, launch, model_root, tmp_path: Path) -> None:
    (tmp_path / "digits").symlink_to(model_root / "digits")
    (tmp_path / "A" / "7").mkdir(parents=True)
    address = launch(models=tmp_path).endpoints["gRPC"]
    finished = digits("status", "--server", address, "--model", "A")
    assert (finished.returncode, finished.stderr) == (1, "")
    told = " ".join(finished.stdout.splitlines()[1].split())
    assert told.startswith("A 7 END Specified file path does not appear to contain a SavedModel bundle ")
    document = digits("status", "--server", address, "--model", "A", "--json")
    assert document.returncode == 1
    assert json.loads(document.stdout)["ready"] is False


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--server", "127.0.0.1:1"], 3, "error: no server answers at 127.0.0.1:1 ("),
        (["--server", "127.0.0.1:1", "--wait-ready", "0.2"], 3, "error: no server answers at 127.0.0.1:1 ("),
        (["--model", "Z"], 4, "error: SERVER does not serve Z ("),
        (["--model", "Z", "--wait-ready", "0.2"], 4, "error: SERVER does not serve Z ("),
        (["--timeout", "0"], 2, "error: timeout 0: "),
        (["--wait-ready", "nan"], 2, "error: --wait-ready nan: "),
    ],
)
def test_a_failure_is_one_line_and_its_exit_code(digits, served, options: list[str], code: int, text: str) -> None:
    finished = digits("status", "--server", served, *options)
    assert (finished.returncode, finished.stdout, finished.stderr.count("\n")) == (code, "", 1)
    assert finished.stderr.startswith(text.replace("SERVER", served))


def test_it_waits_for_the_first_version(digits, command, launch, model_root: Path, tmp_path: Path) -> None:
    (tmp_path / "digits").symlink_to(model_root / "digits")
    address = launch("--poll-seconds", "0.1", models=tmp_path).endpoints["gRPC"]
    waiting = subprocess.Popen(
        [command, "status", "--server", address, "--model", "A", "--wait-ready", "60"],
        stdout=subprocess.PIPE,
        text=True,
    )
    with waiting:
        shutil.copytree(model_root / "A", tmp_path / ".A")
        (tmp_path / ".A").rename(tmp_path / "A")
        assert waiting.stdout.read().split()[-4:] == ["A", "1", "AVAILABLE", "served"]
    assert waiting.returncode == 0


def test_the_help_names_every_key_of_the_json_document(digits, served) -> None:
    document = json.loads(digits("status", "--server", served, "--json").stdout)
    text = digits("status", "--help").stdout
    for key in [*document, *document["versions"][0]]:
        assert f'"{key}"' in text
