"""`digits classify` as a person or a program runs it: what it prints, where, and how it ends."""

import csv
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from client import InvalidImage, read_image


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, mnist_test):
    """A folder with 2.png, 10.png, deeper/4.jpg, things that are no images, blank paper, and hidden ones."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "deeper").mkdir()
    (folder / ".hidden").mkdir()
    images, labels = mnist_test
    for name, label in (("2.png", 2), ("10.png", 0), ("deeper/4.jpg", 4), (".hidden/1.png", 1)):
        image = Image.fromarray(255 - images[np.flatnonzero(labels == label)[1]])
        image.resize((200, 200), Image.Resampling.BICUBIC).save(folder / name)
    (folder / "notes.txt").write_text("seven")
    Image.new("L", (50, 50), 255).save(folder / "blank.png")
    (folder / "broken.png").write_bytes((folder / "2.png").read_bytes()[:300])
    return folder


def rows(stdout):
    """The cells of a table's lines, without the numbers that depend on the training."""
    lines = [re.sub(r"\d+\.\d+%?|\b\d \(", "#", line).split() for line in stdout.splitlines()]
    return [[cell for cell in line if "#" not in cell] for line in lines]


@pytest.mark.parametrize("stderr", [">&-", ">/dev/full"])
def test_words_that_cannot_be_written_change_no_exit_code(command, stderr):
    assert subprocess.run(f"{command} versions --models nowhere 2{stderr}", shell=True).returncode == 2


@pytest.mark.parametrize("closed", [">&-", "<&- >&-"])
@pytest.mark.parametrize("form", ["", "--json", "--csv"])
def test_a_closed_stdout_stops_nothing(command, form, closed):
    shell = f"{command} classify no.png {form} {closed}"
    finished = subprocess.run(shell, shell=True, stderr=subprocess.PIPE, text=True)
    assert (finished.returncode, finished.stderr) == (1, "error: no.png: No such file or directory\n")


def test_a_person_gets_a_table_and_under_it_how_good_each_model_is(digits, served, pictures):
    finished = digits("classify", "2.png", "deeper/4.jpg", "--server", served, cwd=pictures)
    assert (finished.returncode, finished.stderr) == (0, "")
    answers, accuracies = finished.stdout.split("\nAccuracy on MNIST's last 5,000 test images (digits version 1):\n\n")
    assert rows(answers) == [["file", "digit", "probability", "runner-up"], ["2.png", "2"], ["deeper/4.jpg", "4"]]
    header, *models = accuracies.splitlines()
    assert header.split() == ["model", "accuracy", "loss", "description"]
    assert [line.split()[0] for line in models] == ["A", "B"]
    assert sum(" served " in line for line in models) == 1
    assert all(re.search(r"^[AB] +\d\d\.\d\d% +\d\.\d{4} .*Similar to LeNet", line) for line in models)


def test_a_folder_is_read_in_natural_order_and_one_bad_file_does_not_stop_the_rest(digits, served, pictures):
    finished = digits("classify", ".", "notes.txt", "--server", served, cwd=pictures)
    assert finished.returncode == 1
    names = [line[:2] for line in rows(finished.stdout)[1:5]]
    assert names == [["2.png", "2"], ["10.png", "0"], ["blank.png", "-"], ["deeper/4.jpg", "4"]]
    broken, notes, counts = finished.stderr.splitlines()
    assert counts == "6 files: 3 classified, 1 without a digit, 2 failed"
    assert re.fullmatch(r"error: broken\.png: a damaged image \(.+\)", broken)
    assert notes == "error: notes.txt: not an image that Pillow can read"


def lines(finished):
    return [json.loads(line) for line in finished.stdout.splitlines()]


def test_a_program_gets_a_json_line_for_each_file_and_at_last_the_results_table(digits, served, pictures):
    finished = digits("classify", "2.png", "notes.txt", "blank.png", "--server", served, "--json", cwd=pictures)
    assert finished.returncode == 1
    image, failed, blank, table = lines(finished)
    assert image["probability"] == max(image["probabilities"]) == image["probabilities"][2]
    assert image["runner_up_probability"] == sorted(image["probabilities"])[-2]
    del image["probability"], image["probabilities"], image["runner_up"], image["runner_up_probability"]
    assert image == {"file": "2.png", "digit": 2, "model": "digits", "model_version": 1, "notes": []}
    assert failed == {"file": "notes.txt", "error": "notes.txt: not an image that Pillow can read"}
    assert blank == {"file": "blank.png", "digit": None, "notes": ["no digit found"]}
    assert list(table) == ["benchmark", "model", "model_version"]
    assert [list(row) for row in table["benchmark"]] == [["model", "description", "loss", "accuracy", "served"]] * 2
    assert finished.stderr.splitlines() == [
        "error: notes.txt: not an image that Pillow can read",
        "3 files: 1 classified, 1 without a digit, 1 failed",
    ]


def test_what_pillow_cannot_read_in_a_folder_is_told_once_at_the_end(digits, served, pictures, tmp_path):
    for name in ("IMG_1.HEIC", "IMG_2.HEIC", "scan.pdf"):
        (tmp_path / name).touch()
    note = "note: left out what Pillow cannot read: 2 .heic, 1 .pdf. Save it as JPEG\n"
    alone = digits("classify", ".", cwd=tmp_path)
    assert (alone.returncode, alone.stdout, alone.stderr) == (1, "", f"error: .: a folder without images\n{note}")
    (tmp_path / "2.png").write_bytes((pictures / "2.png").read_bytes())
    finished = digits("classify", ".", "--json", "--server", served, cwd=tmp_path)
    assert (finished.returncode, finished.stderr, lines(finished)[0]["file"]) == (0, note, "2.png")


def test_blank_paper_is_an_answer_and_no_failure(digits, served, pictures):
    finished = digits("classify", "blank.png", "2.png", "--server", served, cwd=pictures)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert [" ".join(line) for line in rows(finished.stdout)[1:3]] == ["blank.png - no digit found", "2.png 2"]


def test_several_digits_and_an_animation_are_noted(digits, served, pictures, tmp_path):
    one = Image.open(pictures / "2.png").convert("L")
    both = Image.new("L", (420, 200), 255)
    both.paste(one, (0, 0))
    both.paste(one, (220, 0))
    both.save(tmp_path / "both.png")
    above = Image.new("L", (200, 420), 255)
    above.paste(one, (0, 0))
    above.paste(one, (0, 220))
    above.save(tmp_path / "above.png")
    one.save(tmp_path / "film.gif", save_all=True, append_images=[both.resize(one.size)])
    files = ["both.png", "above.png", "film.gif"]
    finished = digits("classify", *files, "--server", served, "--json", cwd=tmp_path)
    assert finished.returncode == 0
    several, frames = ["several digits?"], ["first of 2 frames"]
    assert [result["notes"] for result in lines(finished)[:3]] == [several, several, frames]
    assert lines(finished)[2]["digit"] == 2
    table = digits("classify", "both.png", "film.gif", "--server", served, cwd=tmp_path).stdout.splitlines()
    assert [line.rstrip().rpartition("   ")[2] for line in table[1:3]] == ["several digits?", "first of 2 frames"]


def test_what_the_network_sees_is_written_beside_each_image(digits, served, pictures, tmp_path):
    seen = tmp_path / "seen"
    long = f"{252 * 'n'}.png"[-252:]
    (pictures / long).write_bytes((pictures / "2.png").read_bytes())
    files = ["2.png", "deeper/4.jpg", "blank.png", "notes.txt", long, pictures / "2.png", "deeper/../2.png"]
    finished = digits("classify", *files, "--server", served, "--show", seen, cwd=pictures)
    (pictures / long).unlink()
    assert finished.returncode == 1
    assert f"\nnote: {long} is not shown: File name too long\n" in finished.stderr
    names = {path.relative_to(seen) for path in seen.rglob("*.png")}
    whole = (pictures / "2.png.png").relative_to("/")
    assert names == {Path("2.png.png"), Path("blank.png.png"), Path("deeper/4.jpg.png"), whole}
    shown = np.asarray(Image.open(tmp_path / "seen/2.png.png").convert("L"))
    assert shown.shape == (280, 570)
    np.testing.assert_array_equal(shown[5::10, 295::10], read_image(pictures / "2.png"))


@pytest.mark.parametrize(
    ("file", "folder", "read"),
    [
        (".", "seen", "."),
        ("deeper", "deeper/seen", "deeper"),
        ("deeper", ".", "deeper"),
        ("**/*.png", "seen", "."),
        ("deep*", "deeper/seen", "deeper"),
        ("--files-from=list", "deeper/seen", "deeper"),
    ],
)
def test_a_folder_that_is_read_is_not_written_to(digits, pictures, file, folder, read):
    (pictures / "list").write_text("deeper\n")
    before = {path for path in pictures.rglob("*") if path.is_file()}
    finished = digits("classify", file, "--show", folder, cwd=pictures)
    line = f"--show {folder} would write into {read}, which the next run reads. Name another DIR, outside of it"
    assert (finished.returncode, finished.stdout, finished.stderr) == (2, "", f"error: {line}\n")
    assert {path for path in pictures.rglob("*") if path.is_file()} == before


def test_a_pipe_is_read_once_and_shown_under_its_name(command, served, pictures, tmp_path):
    line = f"{command} classify <(cat 2.png) <(cat notes.txt) --json --server {served} --show {tmp_path}/seen"
    finished = subprocess.run(["bash", "-c", line], cwd=pictures, capture_output=True, text=True, timeout=60)
    image, failed, _ = lines(finished)
    assert (image["file"][:8], image["digit"]) == ("/dev/fd/", 2)
    assert failed["error"] == f"{failed['file']}: not an image that Pillow can read"
    assert len(list((tmp_path / "seen").rglob("*.png"))) == 1


def test_csv_has_the_same_fields_in_columns(digits, served, pictures):
    arguments = ["2.png", "notes.txt", "blank.png", "--server", served]
    [image, *_] = lines(digits("classify", *arguments, "--json", cwd=pictures))
    finished = digits("classify", *arguments, "--csv", cwd=pictures)
    assert finished.returncode == 1
    first, failed, blank = csv.DictReader(finished.stdout.splitlines())
    for name in ("file", "digit", "probability", "runner_up", "runner_up_probability", "model", "model_version"):
        assert first[name] == str(image[name])
    assert [first[f"p{digit}"] for digit in range(10)] == [str(number) for number in image["probabilities"]]
    assert {name: text for name, text in failed.items() if text} == {
        "file": "notes.txt",
        "error": "notes.txt: not an image that Pillow can read",
    }
    assert {name: text for name, text in blank.items() if text} == {"file": "blank.png", "notes": "no digit found"}


def test_csv_quotes_a_name_with_any_line_end_and_ends_its_own_lines_as_unix_does(command):
    names = ["no\r.png", "no\n.png", "no\r\n.png"]
    printed = subprocess.run([command, "classify", *names, "--csv"], capture_output=True).stdout.decode()
    assert [row[0] for row in csv.reader(io.StringIO(printed, newline=""))] == ["file", *names]
    assert printed.partition("\n")[0].endswith("error")


def test_the_help_names_every_key_of_the_json_lines(digits, served, pictures):
    image, table = lines(digits("classify", "2.png", "--server", served, "--json", cwd=pictures))
    text = digits("classify", "--help").stdout
    for key in [*image, *table, *table["benchmark"][0]]:
        assert f'"{key}"' in text


def test_a_long_file_name_is_not_cut_when_piped(digits, served, pictures):
    name = f"{'long' * 50}.png"
    (pictures / name).write_bytes((pictures / "2.png").read_bytes())
    finished = digits("classify", name, "--server", served, cwd=pictures)
    (pictures / name).unlink()
    assert rows(finished.stdout)[1] == [name, "2"]


def test_a_file_name_that_the_code_page_lacks_is_written_all_the_same(command, served, pictures):
    name = "число.png"
    (pictures / name).write_bytes((pictures / "2.png").read_bytes())
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}

    def classify(*options):
        arguments = [command, "classify", name, "--server", served, *options]
        return subprocess.run(arguments, cwd=pictures, env=environment, check=True, capture_output=True).stdout

    assert name.encode("ascii", "backslashreplace") in classify()
    assert name.encode() in classify("--csv")
    (pictures / name).unlink()


@pytest.mark.parametrize("argument", ["-", "--files-from=-"])
def test_a_closed_stdin_is_a_usage_error(command, served, argument):
    shell = f"{command} classify {argument} --server {served} <&-"
    finished = subprocess.run(shell, shell=True, stderr=subprocess.PIPE, text=True)
    assert (finished.returncode, finished.stderr.count("\n")) == (2, 1)
    assert "stdin is closed" in finished.stderr


def test_a_file_name_cannot_write_markup_or_commands_to_the_terminal(digits, served, pictures):
    name = "[red]\x1b[31m\n.png"
    (pictures / name).write_bytes((pictures / "2.png").read_bytes())
    (pictures / f"{name}.txt").touch()
    finished = digits("classify", name, f"{name}.txt", "--server", served, cwd=pictures)
    (pictures / name).unlink()
    (pictures / f"{name}.txt").unlink()
    assert rows(finished.stdout)[1] == ["[red]\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}.png", "2"]
    assert "\x1b" not in finished.stdout + finished.stderr


def test_what_is_wrong_is_told_with_the_name_as_it_was_given(digits, pictures):
    finished = digits("classify", "", "./no.png", "--csv", cwd=pictures)
    told = ["error: '': No such file or directory", "error: ./no.png: No such file or directory"]
    assert finished.stderr.splitlines()[:2] == told
    with pytest.raises(InvalidImage, match="^'': No such file"):
        read_image("")


def test_only_bad_files_need_no_server_and_print_no_table(digits, pictures, tmp_path):
    finished = digits("classify", "notes.txt", "no.png", tmp_path, "--server", "127.0.0.1:1", cwd=pictures)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr == (
        "error: notes.txt: not an image that Pillow can read\n"
        "error: no.png: No such file or directory\n"
        f"error: {tmp_path}: a folder without images\n"
        "3 files: 0 classified, 3 failed\n"
    )


def test_a_list_without_a_name_is_told(digits, tmp_path):
    (tmp_path / "nothing.txt").touch()
    finished = digits("classify", "--files-from", "nothing.txt", cwd=tmp_path)
    line = "note: no files, as the list nothing.txt names none\n"
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", line)


FAILURES = {
    "no server": (
        ["--server", "127.0.0.1:1"],
        3,
        "no server answers at 127.0.0.1:1 (Connection refused). Start one with: digits serve, or give the right "
        "address as --server HOST:PORT",
    ),
    "no model": (
        ["--model", "Z"],
        4,
        "SERVER does not serve Z (Servable not found for request: Latest(Z)). Ask its operator what it serves (digits "
        "serve lists it on its REST port, at /v1/models), and name that with --model",
    ),
    "a scheme": (
        ["--server", "http://127.0.0.1:8500"],
        2,
        "server http://127.0.0.1:8500: give HOST:PORT without a scheme, for example 127.0.0.1:8500",
    ),
    "no seconds": (["--timeout", "0"], 2, "timeout 0: give a number of seconds above 0, and at most 86,400, a day"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_is_one_line_with_the_next_step_and_its_exit_code(failure, digits, served, pictures):
    options, code, message = FAILURES[failure]
    finished = digits("classify", "2.png", "--server", served, *options, cwd=pictures)
    assert (finished.returncode, finished.stdout) == (code, "")
    assert re.sub(r" \(111\)", "", finished.stderr) == f"error: {message.replace('SERVER', served)}\n"


@pytest.mark.parametrize("option", ["--model", "--server"])
def test_an_option_that_is_no_utf_8_is_a_usage_error_too(command, option):
    finished = subprocess.run([command, "status", option, b"h\xff"], capture_output=True, text=True)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert re.fullmatch("error: (model|server) h\N{REPLACEMENT CHARACTER}: give .+\n", finished.stderr)


def test_another_service_behind_the_address_is_named_as_such(digits, pictures):
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with server:
        port = re.search(r"port (\d+)", server.stdout.readline())[1]
        finished = digits("classify", "2.png", "--server", f"127.0.0.1:{port}", cwd=pictures)
        server.terminate()
    assert (finished.returncode, finished.stdout) == (3, "")
    assert finished.stderr.startswith(f"error: no server answers at 127.0.0.1:{port} (")
    assert finished.stderr.count("\n") == 1


def test_the_server_and_debugging_can_be_set_in_the_environment(digits, served, pictures):
    by_variable = digits("classify", "2.png", cwd=pictures, env=os.environ | {"DIGITS_SERVER": served})
    assert by_variable.returncode == 0
    debugged = digits(
        "classify", "2.png", "--server", "127.0.0.1:1", cwd=pictures, env=os.environ | {"DIGITS_DEBUG": "1"}
    )
    assert debugged.returncode == 3
    assert "Traceback" in debugged.stderr


def test_the_output_is_the_same_without_colour(digits, served, pictures):
    plain = digits("classify", ".", "--server", served, cwd=pictures)
    without = digits("classify", ".", "--server", served, cwd=pictures, env=os.environ | {"NO_COLOR": "1"})
    assert plain.stdout == without.stdout
    assert "\x1b" not in plain.stdout


def test_a_reader_that_leaves_ends_the_command_quietly(command, served, pictures):
    with subprocess.Popen(
        [command, "classify", ".", "--server", served],
        cwd=pictures,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as classify:
        classify.stdout.close()
        assert "Traceback" not in classify.stderr.read()


def test_a_server_that_does_not_answer_in_time_is_exit_code_3(digits, pictures):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes a connection and never speaks
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        finished = digits("classify", "2.png", "--server", address, "--timeout", "0.3", cwd=pictures)
    assert (finished.returncode, finished.stdout) == (3, "")
    message = f"no answer from {address} within 0.3 s. See whether the server is busy, or allow more with --timeout"
    assert finished.stderr == f"error: {message}\n"


def test_ctrl_c_ends_with_130_and_no_traceback(command, tmp_path):
    pipe = tmp_path / "never.png"
    os.mkfifo(pipe)
    classify = subprocess.Popen([command, "classify", pipe], stderr=subprocess.PIPE, text=True)
    with classify, pipe.open("wb"):  # opens when the command reads the other end
        time.sleep(0.5)  # so that it waits for bytes: Python sleeps over a signal that comes 30 µs before a read
        classify.send_signal(signal.SIGINT)
        assert "Traceback" not in classify.stderr.read()
    assert classify.returncode == 130


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written_is_one_line_and_exit_code_1(command, unbuffered: str):
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        finished = subprocess.run(
            [command, "--version"], stdout=full, stderr=subprocess.PIPE, text=True, env=environment
        )
    assert finished.returncode == 1
    assert finished.stderr.startswith("error: stdout: No space left on device. ")
    assert finished.stderr.count("\n") == 1


@pytest.mark.parametrize("way", [["-c", "import digits; digits.main()"], ["-m", "client"], ["-m", "serving"]])
def test_every_way_to_the_commands_has_short_help(way):
    finished = subprocess.run([sys.executable, *way, "-h"], capture_output=True, text=True)
    assert (finished.returncode, finished.stderr) == (0, "")


INTERRUPTED = """
import builtins
real = builtins.__import__
def interrupt(name, *arguments):
    if name == "typer":
        raise KeyboardInterrupt
    return real(name, *arguments)
builtins.__import__ = interrupt
import digits
"""


def test_ctrl_c_while_a_command_starts_ends_with_130_and_no_traceback():
    finished = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True)
    assert (finished.returncode, finished.stdout, finished.stderr) == (130, "", "")
