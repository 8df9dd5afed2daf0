"""Versions on disk: found by TensorFlow Serving's rules, published atomically."""

import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from serving import versions


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("1", 1),
        ("0", 0),
        ("00000123", 123),
        ("+7", 7),
        (" 8 ", 8),
        (str(2**63 - 1), 2**63 - 1),
        (str(2**63), None),
        ("-1", None),
        ("1.0", None),
        ("v1", None),
        ("1_tmp", None),
        (".tmp-3", None),
        ("0x1", None),
        ("", None),
        ("١", None),
    ],
)
def test_a_name_is_a_version_by_tensorflow_servings_rules(name: str, version: int | None) -> None:
    assert versions.parse_version(name) == version


def test_versions_are_ascending_by_number_and_of_two_names_the_last_counts(tmp_path: Path) -> None:
    for name in ("10", "9", "009", "notes", ".staging-x"):
        (tmp_path / name).mkdir()
    assert versions.list_versions(tmp_path) == {9: tmp_path / "9", 10: tmp_path / "10"}


def test_the_latest_version_of_a_model_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert versions.latest_version(tmp_path / "digits") is None


def test_a_version_is_invisible_until_it_is_published(tmp_path: Path) -> None:
    with versions.staging(tmp_path / "digits") as directory:
        (directory / "saved_model.pb").write_text("graph")
        assert versions.list_versions(tmp_path / "digits") == {}
        published = versions.publish(directory)
    assert versions.list_versions(tmp_path / "digits") == {1: published}
    assert (published / "saved_model.pb").read_text() == "graph"


def test_what_is_not_published_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyError), versions.staging(tmp_path) as directory:
        (directory / "saved_model.pb").write_text("half")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("later", "left"), [(3500, {".staging-killed"}), (3700, set())])
def test_what_a_killed_publisher_left_is_removed_an_hour_later(tmp_path: Path, monkeypatch, later, left) -> None:
    (tmp_path / ".staging-killed").mkdir()
    os.utime(tmp_path / ".staging-killed", (0, 0))  # as a copy of an old version
    (tmp_path / ".staging-gone").symlink_to("gone")  # as one that another publisher removes meanwhile
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + later)
    with versions.staging(tmp_path) as directory:
        assert {path.name for path in tmp_path.iterdir()} == {".staging-gone", directory.name, *left}


def test_two_publishers_at_once_never_share_a_number(tmp_path: Path) -> None:
    def publish(name: str) -> None:
        for _ in range(10):
            with versions.staging(tmp_path) as directory:
                (directory / "by").write_text(name)
                versions.publish(directory)

    publishers = [threading.Thread(target=publish, args=(name,)) for name in ("a", "b")]
    for publisher in publishers:
        publisher.start()
    for publisher in publishers:
        publisher.join()
    found = versions.list_versions(tmp_path)
    assert list(found) == list(range(1, 21))
    assert sorted((path / "by").read_text() for path in found.values()) == ["a"] * 10 + ["b"] * 10


def test_the_fingerprint_tells_another_graph_and_other_weights(model_root: Path, tmp_path: Path) -> None:
    def fingerprint_of(name: str, damaged: str | None) -> str:
        directory = versions.copy_version(model_root / "digits" / "1", tmp_path / name, "test")
        if damaged:
            path = next(directory.glob(damaged))
            path.write_bytes(path.read_bytes() + b"\0")
        return versions.fingerprint(directory)

    same = fingerprint_of("same", None)
    assert same == versions.fingerprint(model_root / "digits" / "1")
    assert len({same, fingerprint_of("graph", "saved_model.pb"), fingerprint_of("weights", "variables/*data*")}) == 3


def test_a_version_is_looked_at_while_it_is_deleted(tmp_path: Path) -> None:
    gone = threading.Event()

    def come_and_go() -> None:
        for _ in range(30):
            for name in range(50):
                (tmp_path / str(name) / "variables").mkdir(parents=True)
            for name in range(50):
                shutil.rmtree(tmp_path / str(name))
        gone.set()

    threading.Thread(target=come_and_go).start()
    while not gone.is_set():
        assert versions.files(tmp_path)
