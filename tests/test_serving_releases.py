"""`digits versions`, `promote` and `rollback`, as an operator types them."""

import io
import json
import resource
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from serving import versions
from serving.announcement import announcement
from serving.releases import Release
from serving.releases_cli import to_table
from serving.settings import Settings


@pytest.fixture
def root(model_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model root to change, `models` in the current folder, with digits/1 (an export), A/1 and B/1."""
    monkeypatch.chdir(tmp_path)
    for name in ("A", "B"):
        shutil.copytree(model_root / name / "1", tmp_path / "models" / name / "1")
    shutil.copytree(model_root / "A" / "1", tmp_path / "models" / "digits" / "1")
    return tmp_path / "models"


def figures(root: Path, name: str) -> tuple[float, float]:
    rows = versions.read_json(root / name / "1" / versions.BENCHMARK_FILE)["results"]
    return next((row["val_accuracy"], row["accuracy"]) for row in rows if row["model"] == name)


def test_versions_is_a_table_the_newest_first(root: Path, digits) -> None:
    assert digits("promote", "B").returncode == 0
    (val_a, test_a), (val_b, test_b) = figures(root, "A"), figures(root, "B")
    finished = digits("versions")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert [line.rstrip() for line in finished.stdout.splitlines()] == [
        "version  model  validation  test    recipe  origin",
        f"2        B      {val_b:.4f}      {test_b:.4f}  tuned   copy of B/1 (promoted)  served",
        f"1        A      {val_a:.4f}      {test_a:.4f}  tuned   exported",
    ]


def test_a_pipe_gets_the_whole_table_a_line_for_each_version(digits, tmp_path: Path) -> None:
    extra = tmp_path / "digits" / "1" / versions.EXTRA
    extra.mkdir(parents=True)
    (extra.parent / versions.ORIGIN_FILE).write_text(json.dumps({"copied_from": "A/3", "reason": "a " * 60 + "b"}))
    finished = digits("versions", "--models", tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert [line.split()[0] for line in finished.stdout.splitlines()] == ["version", "1"]
    assert f"copy of A/3 ({'a ' * 60}b)" in finished.stdout


@pytest.mark.parametrize("width", [17, 24, 25, 36, 37, 48, 49, 56, 57, 66, 67, 80])
def test_on_a_terminal_the_versions_leave_out_columns_rather_than_to_cut_figures(width: int) -> None:
    found = Release(
        version=12, model="ensemble", val_accuracy=0.9958, accuracy=0.9984, recipe="notebook",
        origin="ensemble/1", reason="promoted", served=True,
    )  # fmt: skip
    console = Console(width=width, file=io.StringIO())
    console.print(to_table([found], width))
    printed = console.file.getvalue()
    assert "…" not in printed
    shown = {"12": 17, "ensemble": 17, "served": 25, "0.9958": 37, "ensemble/1": 49, "0.9984": 57, "notebook": 67}
    assert [word for word in shown if word in printed.split()] == [word for word in shown if width >= shown[word]]


def test_a_copy_that_finds_no_room_is_one_line_and_publishes_nothing(digits, tmp_path: Path) -> None:
    version = tmp_path / "A" / "1"
    (version / "variables").mkdir(parents=True)
    for name in (versions.GRAPH_FILE, "fingerprint.pb"):
        (version / name).write_bytes(bytes(1000))

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))

    finished = digits("promote", "A", "--models", tmp_path, preexec_fn=no_room)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr == (
        f"error: {tmp_path}/digits: cannot copy {version} there (File too large). Nothing was published.\n"
    )
    assert [*(tmp_path / "digits").iterdir()] == []


def test_versions_as_json_has_every_field(root: Path, digits) -> None:
    val_accuracy, accuracy = figures(root, "B")
    finished = digits("versions", "B", "--json")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert json.loads(finished.stdout) == [
        {
            "version": 1,
            "model": "B",
            "val_accuracy": val_accuracy,
            "accuracy": accuracy,
            "recipe": "tuned",
            "origin": "",
            "reason": "",
            "served": True,
        }
    ]


def test_a_version_without_readable_benchmark_is_listed_all_the_same(root: Path, digits) -> None:
    figures = '{"model": 1, "results": [{"served": true, "accuracy": "x", "val_accuracy": NaN, "recipe": []}]}'
    for content in ("{", "[]", "[" * 100_000, '{"results": null}', '{"results": [null]}', figures):
        (root / "digits" / "1" / versions.BENCHMARK_FILE).write_text(content)
        finished = digits("versions")
        assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.splitlines()[1].split() == ["1", "?", "?", "?", "?", "exported", "served"]


def test_a_version_with_broken_figures_and_origin_is_copied_all_the_same(root: Path, digits) -> None:
    extra = root / "digits" / "1" / versions.EXTRA
    (extra / "benchmark.json").write_text('{"model": 1, "results": [{"served": true, "val_accuracy": "x"}]}')
    (extra / "origin.json").write_text('{"copied_from": [], "reason": "rollback"}')
    assert digits("promote", "digits/1").stderr.startswith("digits/2 is published: a copy of digits/1, model unknown\n")
    assert digits("rollback").stderr.startswith("digits/3 is published: a copy of digits/1, model unknown\n")


def test_a_rollback_ends_where_a_copy_claims_to_be_of_itself(root: Path, digits) -> None:
    (root / "digits" / "1" / versions.ORIGIN_FILE).write_text('{"copied_from": "digits/1", "reason": "rollback"}')
    assert digits("rollback").stderr.startswith("error: models/digits has no version before 1. ")


def test_brackets_in_what_a_version_tells_are_no_markup(root: Path, digits) -> None:
    (root / "digits" / "1" / versions.BENCHMARK_FILE).write_text('{"model": "[/x]", "results": []}')
    assert digits("versions").stdout.splitlines()[1].split()[:2] == ["1", "[/x]"]


@pytest.mark.parametrize("wanted", ["B", "B/1"])
def test_promote_publishes_a_copy_as_the_next_version(root: Path, digits, wanted: str) -> None:
    finished = digits("promote", wanted)
    assert (finished.returncode, finished.stdout, finished.stderr) == (
        0,
        "",
        f"digits/2 is published: a copy of B/1, model B, validation accuracy {figures(root, 'B')[0]:.4f}\n"
        "a running server switches to it within a second; to start one: digits serve --models models\n",
    )
    assert versions.fingerprint(root / "digits" / "2") == versions.fingerprint(root / "B" / "1")
    assert list(versions.list_versions(root / "B")) == [1]


def origins(root: Path) -> list[str]:
    """Which export each later version of digits holds, by the copies' own notes."""
    found = [path for number, path in versions.list_versions(root / "digits").items() if number > 1]
    return [versions.read_json(path / versions.ORIGIN_FILE)["copied_from"] for path in found]


def test_rolling_back_twice_goes_back_two_versions(root: Path, digits) -> None:
    digits("promote", "B")
    digits("promote", "A")
    assert digits("rollback").stderr.startswith("digits/4 is published: a copy of digits/2, model B, ")
    assert digits("rollback").stderr.startswith("digits/5 is published: a copy of digits/1, model A, ")
    finished = digits("rollback")
    assert (finished.returncode, finished.stderr) == (
        2,
        "error: models/digits has no version before 1. See: digits versions --models models\n",
    )
    assert origins(root) == ["B/1", "A/1", "digits/2", "digits/1"]


def test_a_rollback_of_what_was_promoted_goes_to_the_version_before_also_if_it_was_an_older_one(root, digits) -> None:
    for wanted in ("B", "digits/1"):
        assert digits("promote", wanted).returncode == 0
    assert digits("rollback").stderr.startswith("digits/4 is published: a copy of digits/2, model B, ")


@pytest.mark.parametrize("lost", ["saved_model.pb", "variables"])
def test_a_version_that_no_server_could_load_is_not_published(root: Path, digits, lost: str) -> None:
    path = root / "B" / "1" / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    finished = digits("promote", "B")
    reason = "error: models/B/1 is not whole: no saved_model.pb or no variables. Nothing was published.\n"
    assert (finished.returncode, finished.stderr) == (2, reason)
    assert list(versions.list_versions(root / "digits")) == [1]


def test_a_saved_model_of_other_hands_can_be_promoted(root: Path, digits) -> None:
    shutil.rmtree(root / "B" / "1" / versions.EXTRA)
    assert digits("promote", "B").stderr.startswith("digits/2 is published: a copy of B/1, model unknown")


def test_rollback_to_a_version(root: Path, digits) -> None:
    digits("promote", "B")
    digits("promote", "A")
    assert digits("rollback", "--to", "1").returncode == 0
    assert origins(root) == ["B/1", "A/1", "digits/1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["promote", "Q"], "no version of Q in models: there are A, B, digits"),
        (["promote", "A/9"], "A has no version 9: there are 1"),
        (["promote", "/srv/models/A"], "/srv/models/A: give MODEL or MODEL/VERSION, such as D or D/3"),
        (["promote", "../A"], "../A: give MODEL or MODEL/VERSION, such as D or D/3"),
        (["rollback", "--to", "9"], "digits has no version 9: there are 1"),
        (["versions", "Q"], "no version of Q in models: there are A, B, digits"),
        (
            ["versions", "--models", "nowhere"],
            "no version of digits in nowhere yet. Run: digits train --models nowhere",
        ),
    ],
)
def test_what_is_not_there_is_one_line_and_exit_code_2(root: Path, digits, arguments: list[str], message: str) -> None:
    finished = digits(*arguments)
    assert (finished.returncode, finished.stdout, finished.stderr) == (2, "", f"error: {message}\n")
    assert list(versions.list_versions(root / "digits")) == [1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["versions", "A/1"], "A/1: give MODEL, such as D"),
        (["versions", ""], "'': give MODEL, such as D"),
        (["versions", "."], ".: give MODEL, such as D"),
        (["promote", ""], "'': give MODEL or MODEL/VERSION, such as D or D/3"),
    ],
)
def test_a_name_that_no_model_can_have_is_one_line(digits, tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "models" / "A" / "1").mkdir(parents=True)
    finished = digits(*arguments, cwd=tmp_path)
    assert (finished.returncode, finished.stdout, finished.stderr) == (2, "", f"error: {message}\n")


@pytest.mark.parametrize(("root", "option"), [("models", "models"), ("my own", "'my own'")])
def test_a_server_of_other_models_tells_the_command_to_promote_one(tmp_path: Path, monkeypatch, root, option) -> None:
    monkeypatch.chdir(tmp_path)
    settings = dict.fromkeys(Settings.__dataclass_fields__) | {"models": Path(root), "host": "127.0.0.1"}
    told = announcement(Settings(**settings), ["E", "D"], 8500, None)[-1]
    assert told == (
        f"no model 'digits' in {root} yet: it is picked up when it comes. Serving D, E. "
        f"Run: digits promote D --models {option}"
    )
