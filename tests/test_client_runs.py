"""Long runs of `digits classify`: lists, pipes, interruptions, and servers that go away."""

import collections
import json
import os
import pty
import re
import signal
import subprocess
import termios

import numpy as np
import pytest
from PIL import Image

COUNT, SENT = 1500, 1100
"""Files, and how many a run is told of before it is interrupted: more than it reads before its first answer."""


@pytest.fixture(scope="module")
def many(tmp_path_factory, mnist_test):
    """A folder of 1,500 images of 28×28 and a file that is none in their middle."""
    folder = tmp_path_factory.mktemp("many")
    for number, image in enumerate(mnist_test[0][:COUNT]):
        Image.fromarray(image).save(folder / f"{number}.png")
    (folder / "750-broken.png").write_bytes(b"no image")
    return folder


def expected(folder):
    names = [f"{number}.png" for number in range(COUNT)]
    return [str(folder / name) for name in [*names[:750], names[750], "750-broken.png", *names[751:]]]


def done(path):
    return [json.loads(line)["file"] for line in path.read_text().splitlines()]


@pytest.fixture
def begin(command, many, tmp_path, wait_until):
    """Begin a run, and give it with its journal and the names that are not sent yet: it is in its middle until then."""

    def make(server):
        journal = tmp_path / "digits.jsonl"
        arguments = [command, "classify", "--files-from", "-", "--server", server, "--resume", journal]
        run = subprocess.Popen(arguments, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        names = [f"{many}/{number}.png\n" for number in range(COUNT)]
        run.stdin.writelines(names[:SENT])
        run.stdin.flush()
        wait_until(lambda: journal.exists() and journal.stat().st_size)
        return run, journal, [*names[SENT:], f"{many}/750-broken.png\n"]

    return make


def test_many_files_keep_their_order_and_a_bad_one_in_the_middle_stops_nothing(digits, served, many, mnist_test):
    finished = digits("classify", many, "--server", served, "--json")
    assert finished.returncode == 1
    *results, table = map(json.loads, finished.stdout.splitlines())
    names = [result["file"] for result in results]
    assert sorted(names) == sorted(expected(many))
    assert [name for name in names if "broken" not in name] == [str(many / f"{n}.png") for n in range(COUNT)]
    read = [result["digit"] for result in results if "digit" in result]
    assert np.mean(np.array(read) == mnist_test[1][:COUNT]) > 0.9
    broken, counts = finished.stderr.splitlines()
    assert broken == f"error: {many / '750-broken.png'}: not an image that Pillow can read"
    assert counts == "1,501 files: 1,500 classified, 1 failed"
    assert "benchmark" in table


@pytest.mark.parametrize("separator", ["\n", "\0"])
def test_names_come_from_a_list_on_stdin_or_in_a_file(digits, served, many, tmp_path, separator):
    names = [str(many / "7.png"), str(many / "3.png")]
    (tmp_path / "list").write_text(separator.join([*names, ""]))
    arguments = ["--server", served, "--json"]
    from_stdin = digits("classify", "--files-from", "-", *arguments, input=separator.join(names))
    from_file = digits("classify", "--files-from", tmp_path / "list", *arguments)
    for finished in (from_stdin, from_file):
        assert (finished.returncode, finished.stderr) == (0, "")
        assert [json.loads(line)["file"] for line in finished.stdout.splitlines()[:-1]] == names


def test_a_name_that_no_file_can_have_stops_nothing(digits, served, many, tmp_path):
    names = ["no.png", 70_000 * "x", "n\0l.png", str(many / "7.png")]  # of lines, as the first 64 KiB show no NUL
    (tmp_path / "list").write_text("\n".join(names))
    finished = digits("classify", "--files-from", tmp_path / "list", "--server", served, "--json")
    *results, _ = map(json.loads, finished.stdout.splitlines())
    assert [result["file"] for result in results] == names
    assert results[2]["error"] == "n\0l.png: no file can have such a name"
    assert (finished.returncode, "digit" in results[3]) == (1, True)


def test_one_image_comes_through_stdin(command, served, many):
    with (many / "0.png").open("rb") as image:
        given = subprocess.run(
            [command, "classify", "-", "--server", served, "--json"], stdin=image, capture_output=True
        )
    assert (given.returncode, given.stderr) == (0, b"")
    first = json.loads(given.stdout.splitlines()[0])
    assert (first["file"], first["digit"]) == ("-", 7)
    given = subprocess.run([command, "classify", "-", "--server", served], input=b"seven", capture_output=True)
    assert (given.returncode, given.stdout) == (1, b"")
    assert given.stderr == b"error: -: not an image that Pillow can read\n"
    arguments = [command, "classify", "-", many / "0.png", "--server", served, "--json"]
    given = subprocess.run(arguments, input=bytes((64 << 20) + 1), capture_output=True)
    assert [json.loads(line).get("file") for line in given.stdout.splitlines()] == ["-", str(many / "0.png"), None]
    assert given.stderr == b"error: -: more than 64 MiB through a pipe\n2 files: 1 classified, 1 failed\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_run_is_continued_without_losing_or_doubling_a_file(digits, served, many, begin, number):
    first, journal, _ = begin(served)
    with first:
        first.send_signal(number)
        assert "Traceback" not in first.stderr.read()
    whole = journal.read_bytes().count(b"\n")
    assert 0 < whole < COUNT
    with journal.open("ab") as file:
        file.write(b'{"file": "torn')  # as a full disk or a kill leaves it
    arguments = ["classify", many, "--server", served, "--resume", journal]
    finished = digits(*arguments)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr.splitlines()[-1].endswith(f"failed, {whole:,} done before")
    assert sorted(done(journal)) == sorted(expected(many))
    again = digits(*arguments)
    assert (again.returncode, again.stderr) == (1, "1,501 files: 0 classified, 1 failed, 1,500 done before\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_prints_the_rows_that_it_holds_back(command, served, many, number, code):
    arguments = [command, "classify", "--files-from", "-", "--server", served]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(arguments, text=True, **pipes) as run:
        run.stdin.writelines(f"{many}/{name}.png\n" for name in [0, "750-broken", *range(1, SENT)])
        run.stdin.flush()
        assert "750-broken" in run.stderr.readline()  # those before it are answered
        run.send_signal(number)
        assert f"{many}/0.png " in run.stdout.read()
        assert run.stderr.read() == ""
    assert run.returncode == code


def test_two_runs_do_not_write_to_one_file(digits, served, many, begin):
    first, journal, _ = begin(served)
    with first:
        second = digits("classify", many, "--server", served, "--resume", journal)
        first.kill()
    line = f"another run writes to {journal}. Wait for its end, or name another file with --resume"
    assert (second.returncode, second.stdout, second.stderr) == (2, "", f"error: {line}\n")


def test_what_json_printed_can_be_continued(digits, served, many, tmp_path):
    answers = tmp_path / "digits.jsonl"
    half = [many / name for name in ("0.png", "1.png")]
    answers.write_text(digits("classify", *half, "--server", served, "--json").stdout)
    assert "benchmark" in answers.read_text()
    finished = digits("classify", *half, many / "2.png", "--server", served, "--resume", answers)
    assert finished.stderr == "3 files: 1 classified, 2 done before\n"
    assert done(answers) == [f"{many}/{number}.png" for number in range(3)]


def test_a_file_that_is_named_twice_is_counted_once(digits, served, many, tmp_path):
    arguments = ["classify", *2 * [many / "0.png"], *2 * [many / "no.png"], "--server", served]
    first, second = (digits(*arguments, "--resume", tmp_path / "digits.jsonl").stderr for _ in range(2))
    assert first.splitlines()[-1] == "2 files: 1 classified, 1 failed"
    assert second == "2 files: 0 classified, 1 failed, 1 done before\n"


def test_a_run_over_one_file_speaks_of_one(digits, tmp_path):
    finished = digits("classify", "no.png", "--resume", tmp_path / "digits.jsonl", cwd=tmp_path)
    assert finished.stderr.splitlines()[-1] == "1 file: 0 classified, 1 failed"


WHOLE = b'{"file": "a", "error": "a: empty"}\n'


@pytest.mark.parametrize(
    ("whole", "cut"),
    [
        (WHOLE, b"{"),
        (WHOLE, b'{"file": "b'),
        (WHOLE, b"\0\0\0"),  # as a power cut leaves it
        (WHOLE, b'{"file": "b\0\0'),
        (b"", b'{"file": "\\"", "digit": 7, "prob'),
    ],
)
def test_a_last_line_that_was_cut_off_is_taken_away(digits, tmp_path, whole, cut):
    (tmp_path / "digits.jsonl").write_bytes(whole + cut)
    assert digits("classify", "b", "--resume", "digits.jsonl", cwd=tmp_path).returncode == 1
    row = b'{"file": "b", "error": "b: No such file or directory"}\n'
    assert (tmp_path / "digits.jsonl").read_bytes() == whole + row


@pytest.mark.parametrize(
    "content",
    [
        "seven\n",
        "seven",
        "{",
        '{"my": "data"}',
        '{"my": "data"}\n',
        '{"file": "a", "my": "data"}',
        '{"file": "a", "my": "data"}\n',
        '{"benchmark": []}',
        '{"benchmark": []}\n',
        pytest.param(f"{100_000 * '['}\n", id="nested"),
    ],
)
def test_a_file_that_is_something_else_is_not_continued(digits, served, many, tmp_path, content):
    (tmp_path / "notes.txt").write_text(content)
    finished = digits("classify", many, "--server", served, "--resume", tmp_path / "notes.txt")
    assert (finished.returncode, finished.stdout) == (2, "")
    line = f"{tmp_path}/notes.txt line 1 is not from digits classify. Name another file with --resume"
    assert finished.stderr == f"error: {line}\n"
    assert (tmp_path / "notes.txt").read_text() == content


def test_only_a_file_is_continued(digits, served, many):
    finished = digits("classify", many / "0.png", "--server", served, "--resume", "/dev/stdout")
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr == "error: /dev/stdout is no file that can be read again. Name another with --resume\n"


def test_a_full_disk_ends_a_run_with_the_name_of_its_file(command, served, many, tmp_path):
    line = f"ulimit -f 8; {command} classify {many} --server {served} --resume {tmp_path}/digits.jsonl"
    finished = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr == (
        f"error: {tmp_path}/digits.jsonl: File too large. Check the path, its permissions and free space.\n"
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_that_stops_and_starts_again_loses_and_doubles_nothing(number, start, model_root, many, begin):
    server = start(model_root)
    run, journal, rest = begin(server.address)
    with run:
        server.process.send_signal(number)
        server.process.wait()
        run.stdin.writelines(rest)
        run.stdin.close()
        start(model_root, "--port", server.address.rpartition(":")[2])
        printed = run.stderr.read().splitlines()
    assert run.returncode == 1
    assert printed == [
        f"error: {many / '750-broken.png'}: not an image that Pillow can read",
        "1,501 files: 1,500 classified, 1 failed",
    ]
    assert collections.Counter(done(journal)) == collections.Counter(expected(many))


def on_a_terminal(command, *arguments, streams=("stderr",), columns=80, **options):
    """Run a command whose stderr, or more, is a terminal, and give what it wrote there."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    options |= {"env": os.environ | {"TERM": "xterm"}, **dict.fromkeys(streams, theirs)}
    with subprocess.Popen([command, *arguments], **options):
        os.close(theirs)
        written = b""
        try:
            while block := os.read(ours, 1 << 16):
                written += block
        except OSError:  # Linux' word for the end of a terminal
            pass
        os.close(ours)
    return written.decode()


def screen(written):
    """Give the lines that a terminal shows in the end."""
    lines, row = [""], 0
    for part in re.findall(r"\x1b\[[?\d;]*[a-zA-Z]|\n|[^\x1b\r\n]+", written):
        if part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif part == "\x1b[1A":
            row -= 1
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part[0] != "\x1b":
            lines[row] += part
    return lines


@pytest.mark.parametrize("is_list", [False, True], ids=["a folder", "a list"])
def test_a_person_sees_a_bar_with_the_count_and_the_rate_and_a_pipe_gets_none(
    command, digits, served, many, tmp_path, is_list
):
    (tmp_path / "list").write_text("".join(f"{path}\n" for path in many.iterdir()))
    with (tmp_path / "out.jsonl").open("wb") as out:
        files = ["--files-from", tmp_path / "list"] if is_list else [many]
        shown = on_a_terminal(command, "classify", *files, "--server", served, "--json", stdout=out)
    assert re.search(r"\d+/1,?501", shown)
    assert "files/s" in shown
    assert len([json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]) == COUNT + 2
    assert "files/s" not in digits("classify", many, "--server", served, "--json").stderr


@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"]])
def test_the_answers_on_the_terminal_of_the_bar_stay_whole_and_nothing_stays_of_the_bar(command, served, many, form):
    arguments = [command, "classify", many, "--server", served, *form]
    shown = screen(on_a_terminal(*arguments, streams=["stdout", "stderr"], columns=100))
    assert not [line for line in shown if "\N{BOX DRAWINGS HEAVY HORIZONTAL}" in line]
    answers = [line for line in shown if line.startswith((str(many), f'{{"file": "{many}'))]
    assert len(answers) == COUNT + (form != [])  # the broken file has a line of its own in both forms
    if form == ["--json"]:
        assert all(json.loads(line) for line in answers)


@pytest.mark.parametrize("columns", [80, 60, 40])
def test_a_long_file_name_is_folded_on_a_terminal_and_pushes_nothing_off_it(command, served, many, tmp_path, columns):
    path = tmp_path / f"{'long' * 15}.png"
    path.write_bytes((many / "0.png").read_bytes())
    shown = on_a_terminal(command, "classify", path, "--server", served, streams=["stdout"], columns=columns)
    lines = screen(shown)
    header = next(number for number, line in enumerate(lines) if "digit" in line)
    rows, left = lines[header + 1 : lines.index("")], lines[header].index("digit")
    assert "".join(row[:left].strip() for row in rows) == str(path)
    assert any(re.fullmatch(r" *7 +\d+\.\d% +\d \(\d+\.\d%\) *", row[left:]) for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seven.png", "--json", "--csv"], "--json, --csv and --resume exclude each other: give one of them"),
        (["--json"], "no files: name some, a folder, or a list as --files-from"),
        (["--cluster", "auto", "--out", "answers"], "no files: name some, a folder, or a list as --files-from"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(digits, arguments, message):
    finished = digits("classify", *arguments)
    assert (finished.returncode, finished.stdout, finished.stderr) == (2, "", f"error: {message}\n")
