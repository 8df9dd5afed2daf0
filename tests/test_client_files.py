"""Which files the names, folders, patterns and lists of a command mean, and in which order."""

import io
import os
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from client.errors import DigitsError, InvalidImage, UsageError
from client.files import all_files, find_files, find_images, read_names


class Trickle(io.BytesIO):
    """A pipe from which a few bytes come at a time."""

    def __init__(self, written, block):
        super().__init__(written)
        self._block = block

    def read1(self, size=-1):
        return super().read1(self._block)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory, with a handful of empty files."""
    names = ["a.png", "2.png", "10.PNG", "notes.txt", ".hidden.png", "deep/1.jpg", "deep/.git/3.png", "deep/er/x.webp"]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_means_its_images_and_those_of_its_folders_in_natural_order(folder):
    expected = ["2.png", "10.PNG", "a.png", "deep/1.jpg", "deep/er/x.webp"]
    assert list(find_files(["."])) == expected
    assert list(find_files([str(folder)])) == [str(folder / name) for name in expected]


def test_what_pillow_only_writes_or_knows_by_name_is_no_image_of_a_folder(folder):
    for name in ("scan.pdf", "film.mpg", "data.h5", "drawing.wmf", "3d.mpo"):
        (folder / "deep/er" / name).touch()
    assert list(find_files(["deep/er"])) == ["deep/er/3d.mpo", "deep/er/x.webp"]
    bulk = pytest.importorskip("client.bulk")
    assert list(bulk.expand([f"file://{folder}/deep/er"], None)) == [
        f"file://{folder}/deep/er/{name}" for name in ("3d.mpo", "x.webp")
    ]


def test_what_somebody_may_miss_of_a_folder_is_counted_by_its_ending(folder):
    for name in ("IMG_1.HEIC", "deep/IMG_2.heic", "deep/er/scan.pdf", "deep/.IMG_2.heic", "deep/heic", "deep/png"):
        (folder / name).touch()
    left_out = Counter()
    assert list(all_files(["deep", "IMG_1.HEIC"], None, left_out=left_out))[-1] == "IMG_1.HEIC"  # to be refused
    assert left_out == {".heic": 1, ".pdf": 1}
    bulk, left_out = pytest.importorskip("client.bulk"), Counter()
    list(bulk.expand([str(folder), f"file://{folder}/deep/er"], None, left_out))
    assert left_out == {".heic": 2, ".pdf": 2}


def test_what_somebody_may_miss_of_a_folder_that_a_pattern_matches_is_counted_too(folder):
    for name in ("deep/IMG_2.heic", "deep/er/scan.pdf"):
        (folder / name).touch()
    left_out = Counter()
    assert list(find_files(["[d]eep"], left_out)) == ["deep/1.jpg", "deep/er/x.webp"]
    assert left_out == {".heic": 1, ".pdf": 1}
    expected = ["deep/1.jpg", "deep/IMG_2.heic", "deep/er/scan.pdf", "deep/er/x.webp"]
    assert list(find_files(["deep/**"], left_out)) == expected  # to be refused
    assert left_out == {".heic": 1, ".pdf": 1}


def test_addresses_that_mean_no_image_are_given_themselves_to_be_refused(folder):
    bulk = pytest.importorskip("client.bulk")
    for name in ("[1].png", "empty/notes.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    addresses = [f"file://{folder}/{name}" for name in ("[1].png", "*.gif", "empty", "gone.png")]
    assert list(bulk.expand(addresses, None)) == addresses
    assert [str(bulk.fetch(address) or "read") for address in addresses] == [
        "read",
        "No such file or directory",
        "Is a directory",
        "No such file or directory",
    ]


@pytest.mark.parametrize(
    ("address", "reason"), [("s3://b/7.png", "Install s3fs to access S3"), ("foo://7.png", "Protocol not known: foo")]
)
def test_an_address_that_nothing_here_opens_is_a_usage_error_and_on_a_node_a_bad_file(monkeypatch, address, reason):
    bulk = pytest.importorskip("client.bulk")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    for work in (
        lambda: bulk.classify([], None, address, False, "auto", {}),
        lambda: list(bulk.expand([address], None)),
    ):
        with pytest.raises(UsageError, match=f"^{address}: {reason}$"):
            work()
    fetched = bulk.fetch(address)
    assert (type(fetched), str(fetched)) == (InvalidImage, reason)


class Refusing(BaseHTTPRequestHandler):
    """A web server that shows nothing to anybody."""

    def do_GET(self):
        self.send_error(403)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def refused():
    """The address of a folder that one may not look into."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        yield f"http://127.0.0.1:{server.server_port}/scans"
        server.shutdown()


def test_an_address_whose_file_system_fails_is_told_in_a_line(refused):
    bulk = pytest.importorskip("client.bulk")
    with pytest.raises(DigitsError, match=f"^{refused}: 403, message='Forbidden'.+ Check the address, the network and"):
        list(bulk.expand([refused], None))
    closed = "ftp://127.0.0.1:1/rows"
    with pytest.raises(DigitsError, match=f"^{closed}: Connection refused. Check the address, the network and your"):
        bulk.classify([], None, closed, False, "auto", {})


def test_stdin_is_refused_to_a_cluster_and_not_taken_for_a_file():
    bulk = pytest.importorskip("client.bulk")
    with pytest.raises(UsageError, match="^- is stdin, which the cluster's nodes cannot read: name files or folders$"):
        list(bulk.expand(["-"], None))


def test_a_name_that_is_no_text_gets_its_row_on_a_cluster_too(folder):
    bulk = pytest.importorskip("client.bulk")
    [row] = bulk.Reader({"server": "127.0.0.1:1"})({"file": [b"caf\xe9.png"]}).to_pylist()
    assert (row["file"], row["error"]) == ("caf\\xe9.png", "caf\\xe9.png: No such file or directory")


def test_a_quoted_pattern_means_what_a_shell_would_make_of_it(folder):
    assert list(find_files(["*.png"])) == ["2.png", "a.png"]
    assert list(find_files(["deep/**/*.webp", "[0-9]*"])) == ["deep/er/x.webp", "2.png", "10.PNG"]
    assert list(find_files(["deep/**"])) == list(find_files(["deep/**/*"])) == ["deep/1.jpg", "deep/er/x.webp"]
    assert list(find_files(["**/e*"])) == ["deep/er/x.webp"]
    assert list(find_files([f"{folder}/de*"])) == [f"{folder}/deep/1.jpg", f"{folder}/deep/er/x.webp"]


def test_a_pattern_means_each_file_once_where_links_go_round(folder):
    (folder / "deep/er/up").symlink_to("..")
    assert list(find_files(["deep/**"])) == ["deep/1.jpg", "deep/er/x.webp"]
    assert list(find_files(["**/*.jpg", "deep/**/*.webp"])) == ["deep/1.jpg", "deep/er/x.webp"]
    (folder / "b.png").symlink_to("a.png")
    assert list(find_files(["[ab].png"])) == ["a.png", "b.png"]


def test_folders_may_nest_deeper_than_calls(folder, monkeypatch):
    for _ in range(1100):
        os.mkdir("d")  # noqa: PTH102
        monkeypatch.chdir("d")
    Path("x.png").touch()
    monkeypatch.chdir(folder)
    try:
        assert list(find_images("d")) == [1100 * "d/" + "x.png"]
    finally:
        subprocess.run(["rm", "-r", "d"], check=True)  # Python's way to do it nests calls


def test_names_are_given_as_they_are_also_when_there_is_no_such_file(folder):
    (folder / "[a].png").touch()
    names = ["notes.txt", "-", "no.png", "no*.png", "[a].png", "a.png", "a.png"]
    assert list(find_files(names)) == names


def test_a_name_that_cannot_be_looked_up_stops_nothing(folder):
    names = ["a.png", 300 * "x" + ".png", "2.png"]
    (folder / "list").write_text("\n".join(names))
    assert list(all_files(names, str(folder / "list"))) == 2 * names


def test_a_list_that_is_not_there_is_told_before_any_file_is_given(folder):
    with pytest.raises(UsageError, match="^--files-from typo.txt: No such file or directory. Name a file, or -"):
        next(all_files(["a.png"], "typo.txt"))


def test_a_folder_without_images_is_given_itself(folder):
    (folder / "empty").mkdir()
    assert list(find_files(["empty"])) == ["empty"]


def test_a_pipe_in_a_folder_is_not_waited_for_and_a_loop_of_links_ends(folder):
    os.mkfifo(folder / "pipe.png")
    (folder / "deep/loop").symlink_to(folder)
    (folder / "link.png").symlink_to(folder / "a.png")
    (folder / "self.png").symlink_to("self.png")  # a name that cannot be looked up is left to be refused
    expected = ["2.png", "10.PNG", "a.png", "deep/1.jpg", "deep/er/x.webp", "link.png", "self.png"]
    assert list(find_images(".")) == expected


@pytest.mark.parametrize(
    ("written", "names"),
    [
        (b"a.png\nb c.png\n", ["a.png", "b c.png"]),
        (b"a.png\n\nb.png", ["a.png", "b.png"]),
        (b"a.png\0b c.png\0", ["a.png", "b c.png"]),
        (b"\xff.png\n", [os.fsdecode(b"\xff.png")]),
        (b"a.png\r\nb.png\r\n", ["a.png", "b.png"]),
        (b"a.png\r\nb.png\r", ["a.png", "b.png"]),
        (b"\xef\xbb\xbfa.png\r\nb.png\r\n", ["a.png", "b.png"]),
        (b"", []),
    ],
)
@pytest.mark.parametrize("block", [1, 3, 100])
def test_a_list_has_a_name_a_line_or_nul_behind_each(written, names, block):
    assert list(read_names(Trickle(written, block))) == names


def test_a_name_in_a_list_with_nul_may_hold_a_line_end():
    assert list(read_names(Trickle(b"two\nlines.png\0b.png\r\0", 1 << 16))) == ["two\nlines.png", "b.png\r"]


@pytest.mark.parametrize("written", [b"\xff\xfea\0\n\0", b"\xfe\xff\0a\0\n"])
def test_a_list_in_utf_16_is_refused(written):
    with pytest.raises(UsageError, match="^the list of names is UTF-16. Save it as UTF-8"):
        next(read_names(Trickle(written, 1 << 16)))
