"""`digits report` and the model card: what they show is what was measured, and they hold it all themselves."""

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from matplotlib.transforms import Bbox
from PIL import Image

from client.errors import DigitsError
from serving.versions import BENCHMARK_FILE, EVALUATION_FILE, EXTRA, MODEL_CARD_FILE
from training import card, confusion, figures, results, tradeoff

ROOT = Path(__file__).parent.parent


class Page(HTMLParser):
    """A parsed report: its tags, its table by column name, and its words."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.rows, self.words, self.cell = [], [], "", None
        self.feed(path.read_text("utf-8"))
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        self.cell = attributes["data-name"] if tag == "td" else None
        if tag == "tr":
            self.rows.append({})

    def handle_data(self, data):
        self.words += data
        if self.cell:
            self.rows[-1][self.cell] = data

    def handle_endtag(self, tag):
        self.cell = None

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="module")
def written(model_root, digits, tmp_path_factory):
    """The report of two models: its folder, and what the command said."""
    out = tmp_path_factory.mktemp("report") / "deep" / "report"
    return out, digits("report", "--models", model_root, "--out", out)


@pytest.fixture(scope="module")
def page(written):
    return Page(written[0] / "report.html")


def test_it_says_where_the_page_is_and_what_to_do_next(written):
    out, finished = written
    assert (finished.returncode, finished.stdout) == (0, "")
    count = len(list(out.glob("*.png")))
    expected = f"wrote {out}/report.html and {count} pictures. next: open {out}/report.html in a browser\n"
    assert finished.stderr == expected


def test_the_table_has_the_figures_of_digits_results(page, model_root, digits):
    rows = json.loads(digits("results", "--json", "--models", model_root).stdout)
    shown = [row for row in page.rows if row]
    assert [row["Model_name"] for row in shown] == ["A", "B"]
    for row, cells in zip(rows, shown, strict=True):
        assert cells["Accuracy"] == f"{row['accuracy']:.4f}"
        assert cells["Published"] == f"{row['published_accuracy']:.4f}"
        wrong = round((1 - row["accuracy"]) * 5000), round((1 - row["val_accuracy"]) * 5000)
        assert cells["Errors"] == f"{wrong[0]} / {sum(wrong)}"
        assert cells.get("Served", "") == ("yes" if row["served"] else "")


def test_nothing_is_outside_the_file(page, written):
    assert not page.all("script")
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    text = re.sub(r"data:image/png;base64,[\w+/=]+", "", (written[0] / "report.html").read_text())
    assert not re.search(r"https?:|//|url\(|@import", text)


def test_every_picture_is_in_the_page_and_beside_it_and_has_words(page, written):
    inside = {base64.b64decode(image["src"].removeprefix("data:image/png;base64,")) for image in page.all("img")}
    assert inside == {path.read_bytes() for path in written[0].glob("*.png")}
    assert len({image["alt"] for image in page.all("img")}) == len(inside) == 9
    for content in inside:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            assert image.width > 700
            assert len(image.getcolors(1 << 20)) > 10  # not blank


def test_the_words_of_a_picture_tell_what_it_shows(page, model_root):
    evaluation = results.read_json(model_root / "A" / "1" / EVALUATION_FILE)
    words = {image["alt"].partition(":")[0].partition(",")[0]: image["alt"] for image in page.all("img")}
    digit, answer, times = confusion.pairs(evaluation["confusion"])[0]
    errors = 5000 - sum(row[digit] for digit, row in enumerate(evaluation["confusion"]))
    expected = f"Confusion matrix of model A, {errors} errors. {digit} read as {answer} ({times} times)"
    assert words["Confusion matrix of model A"].startswith(expected)
    worst = evaluation["mistakes"][0]
    assert f"{worst['digit']} read as {worst['answer']}, " in words["Images that model A misread"]
    assert (
        f"validation accuracy {evaluation['history'][0]['val_accuracy']:.2%} to" in words["Learning curves of model A"]
    )


def test_nothing_but_whole_files_is_left(written):
    assert {path.suffix for path in written[0].iterdir()} == {".html", ".png"}


def test_a_second_report_replaces_the_first(written, model_root, digits, tmp_path):
    (tmp_path / "report.html").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    assert digits("report", "--models", model_root, "--out", tmp_path).returncode == 0
    assert (tmp_path / "report.html").read_text() == (written[0] / "report.html").read_text()
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.fixture
def root(model_root, tmp_path):
    """A model root to change: A alone, not served."""
    shutil.copytree(model_root / "A", tmp_path / "models" / "A")
    return tmp_path / "models"


def report(root, digits, **options):
    finished = digits("report", "--models", root, "--out", root.parent / "out", **options)
    assert finished.returncode == 0, finished.stderr
    return Page(root.parent / "out" / "report.html")


def test_one_model_that_is_not_served_is_a_report_too(root, digits):
    page = report(root, digits)
    assert [row["Model_name"] for row in page.rows if row] == ["A"]
    assert "is served" not in page.words
    assert len(page.all("img")) == 6


def test_a_version_without_its_evaluation_says_so_and_is_in_the_table(root, digits):
    (root / "A" / "1" / EVALUATION_FILE).unlink()
    page = report(root, digits)
    assert "exported without its evaluation; pictures need: digits train A" in page.words
    assert len(page.all("img")) == 2  # of the table's figures


def test_a_version_without_a_confusion_matrix_says_so_and_has_the_other_pictures(root, digits):
    path = root / "A" / "1" / EVALUATION_FILE
    evaluation = json.loads(path.read_text())
    del evaluation["confusion"]
    path.write_text(json.dumps(evaluation))
    page = report(root, digits)
    seed = results.own_result(root / "A" / "1").seed
    command = f"digits train A --recipe tuned --epochs 6 --seed {seed} --limit 12000"
    assert f"exported without its confusion matrix; pictures need: {command}" in page.words
    assert len(page.all("img")) == 4


def change(root, file, **changes):
    path = root / "A" / "1" / file
    content = json.loads(path.read_text())
    content.update(changes)
    path.write_text(json.dumps(content))


def test_of_an_ensemble_it_says_how_its_members_are_trained(root, digits):
    (row,) = [row for row in results.benchmark(root / "A" / "1")["results"] if row["model"] == "A"]
    row |= {"model": "ensemble"}
    members = [{"model": "G", "seed": 2}, {"model": "D", "seed": 3}]
    change(root, "assets.extra/benchmark.json", model="ensemble", results=[row], settings={}, members=members)
    (root / "A" / "1" / EVALUATION_FILE).unlink()
    (root / "A").rename(root / "ensemble")
    advice = "pictures need: digits train D G --recipe tuned --seed 2 --seeds 2 --ensemble 2"
    assert advice in report(root, digits).words


def test_a_model_that_nobody_published_and_without_epochs_is_a_report_too(root, digits):
    (row,) = [row for row in results.benchmark(root / "A" / "1")["results"] if row["model"] == "A"]
    row |= {"published_accuracy": None, "published_loss": None, "seconds": 0.0, "epochs": 0}
    change(root, "assets.extra/benchmark.json", results=[row])
    change(root, EVALUATION_FILE, history=[])
    page = report(root, digits)
    assert len(page.all("img")) == 5
    assert "(published" not in "".join(image["alt"] for image in page.all("img"))


def test_a_model_without_mistakes_is_a_report_too(root, digits):
    perfect = [[500 * (digit == answer) for answer in range(10)] for digit in range(10)]
    (row,) = [row for row in results.benchmark(root / "A" / "1")["results"] if row["model"] == "A"]
    change(root, "assets.extra/benchmark.json", results=[row | {"accuracy": 1.0, "val_accuracy": 1.0}])
    change(root, EVALUATION_FILE, mistakes=[], confusion=perfect)
    page = report(root, digits)
    assert "Confused most often: none." in page.words
    assert len(page.all("img")) == 5


@pytest.mark.parametrize(("content", "why"), [("", "No such file or directory"), ("[]", "not a JSON object")])
def test_a_file_that_cannot_be_read_is_named_once_and_the_reason_told_in_words(tmp_path, content, why):
    run, version = tmp_path / "result.json", tmp_path / BENCHMARK_FILE
    if content:
        (tmp_path / EXTRA).mkdir()
        run.write_text(content)
        version.write_text(content)
    with pytest.raises(DigitsError) as error:
        results.read(tmp_path)
    assert str(error.value) == f"{run}: not a finished run ({why}). Train again with: digits train"
    with pytest.raises(DigitsError) as error:
        results.benchmark(tmp_path)
    assert str(error.value) == f"{tmp_path}: no readable benchmark ({why}). Delete this version or export again."


def test_a_run_folder_that_is_not_there_is_wrong_usage(tmp_path, digits):
    finished = digits("export", "nosuch", cwd=tmp_path)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr == "error: nosuch: no such run folder. See: ls .\n"


@pytest.mark.parametrize("damage", ["{", "[]"])
def test_a_damaged_evaluation_is_one_line(root, digits, damage):
    (root / "A" / "1" / EVALUATION_FILE).write_text(damage)
    finished = digits("report", "--models", root, "--out", root.parent / "out")
    assert (finished.returncode, finished.stdout, finished.stderr.count("\n")) == (1, "", 1)
    assert finished.stderr.startswith(f"error: {root}/A/1/{EVALUATION_FILE}: not readable (not ")
    assert not (root.parent / "out").exists()


def test_an_empty_root_is_one_line_and_leaves_no_folder(digits, tmp_path):
    finished = digits("report", "--models", tmp_path, "--out", tmp_path / "out")
    assert (finished.returncode, finished.stdout) == (1, "")
    expected = f"error: {tmp_path}: no trained model there. Train with: digits train --models {tmp_path}\n"
    assert finished.stderr == expected
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_way_is_one_line(model_root, digits, tmp_path):
    (tmp_path / "out").write_text("in the way")
    finished = digits("report", "--models", model_root, "--out", tmp_path / "out")
    assert (finished.returncode, finished.stdout, finished.stderr.count("\n")) == (1, "", 1)
    assert f"{tmp_path}/out: File exists" in finished.stderr


def test_the_model_card_names_confusions_accuracies_and_mistakes(model_root):
    version = model_root / "A" / "1"
    card = (version / MODEL_CARD_FILE).read_text()
    matrix = results.read_json(version / EVALUATION_FILE)["confusion"]
    digit, answer, times = confusion.pairs(matrix)[0]
    assert f"Confused most often: {digit} read as {answer} ({times} times), " in card
    (line,) = [line for line in card.splitlines() if line.startswith("| accuracy |")]
    shares = [f"{row[digit] / sum(row):.4f}" for digit, row in enumerate(matrix)]
    assert line == f"| accuracy | {' | '.join(shares)} |"
    assert "](mistakes.png)" in card
    with Image.open(version / EXTRA / "mistakes.png") as image:
        image.load()
    assert len(card.splitlines()) < 60


@pytest.mark.parametrize(
    ("model", "content", "command"),
    [
        ("A", {"settings": {"letter": "A", "seed": 3, "limit": None, "precision": "float32"}}, "A OWN --seed 3"),
        (
            "A",
            {"settings": {"epochs": 2, "limit": 9, "precision": "float16"}},
            "A OWN --epochs 2 --limit 9 --precision float16 --seed 3",
        ),
        (
            "ensemble",
            {"settings": {"seed": None}, "members": [{"model": "G", "seed": 4}, {"model": "D", "seed": 2}]},
            "D G OWN --seed 2 --seeds 3 --ensemble 2",
        ),
        (
            "ensemble",
            {"members": [{"model": "G", "seed": 3}, {"model": "D", "seed": 3}]},
            "D G OWN --seed 3 --ensemble 2",
        ),
    ],
)
def test_the_model_card_names_the_command_that_makes_the_model_again(model, content, command):
    rendered = rendered_card(model, **content)
    assert rendered.endswith(f"Reproduce with `digits train {command.replace('OWN', '--recipe tuned')}`.\n")


def rendered_card(model="A", fields=None, **content):
    usual = dict.fromkeys(results.Result.__dataclass_fields__, 0) | {"run": "r", "recipe": "tuned", "seed": 3}
    row = usual | {"model": model, "description": "", "seed_accuracies": []} | (fields or {})
    return card.render({"run": "r", "results": [row], "versions": {}} | content, {"confusion": [[1] * 10] * 10})


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ({"distort": False, "upstrokes": 0.0}, ""),
        ({"distort": True, "upstrokes": 0.0}, ", rotated, scaled, sheared, shifted and tilted anew in each epoch"),
        (
            {"distort": True, "upstrokes": 0.05, "pens": 0.3},
            ", an upstroke drawn at up to 5 % of the ones, 30 % redrawn with another pen or fewer pixels"
            ", rotated, scaled, sheared, shifted and tilted anew in each epoch",
        ),
    ],
)
def test_the_model_card_says_how_the_training_images_were_changed(recipe, changes):
    assert f"**Data** MNIST: 0 training images{changes}.\n" in rendered_card(recipe=recipe)


def test_the_model_card_says_that_a_model_answers_with_its_mean_over_shifts():
    with_shifts, without = (rendered_card(recipe={"shifts": shifts}) for shifts in (True, False))
    assert "network of 0\nparameters, which answers with its mean over the image and two shifts of it.\n" in with_shifts
    assert "network of 0\nparameters.\n" in without


@pytest.mark.parametrize(("epochs", "told"), [(1, "1 epoch in"), (2, "2 epochs in")])
def test_the_model_card_says_one_epoch_without_an_s(epochs, told):
    assert f"seed 3, {told} 0 core seconds" in rendered_card(fields={"epochs": epochs})


ASCII_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
WRITE_CARD = """
import sys
from pathlib import Path
from serving.versions import BENCHMARK_FILE, EVALUATION_FILE, read_json
from training import card
version, folder = map(Path, sys.argv[1:])
(folder / "assets.extra").mkdir()
card.write(folder, read_json(version / BENCHMARK_FILE), read_json(version / EVALUATION_FILE) | {"mistakes": []}, None)
"""


def test_where_the_locale_is_not_utf_8_a_report_still_is(root, digits):
    (row,) = [row for row in results.benchmark(root / "A" / "1")["results"] if row["model"] == "A"]
    change(root, "assets.extra/benchmark.json", results=[row | {"seed_accuracies": [(0.97, 0.98), (0.97, 0.96)]}])
    page = report(root, digits, env=os.environ | ASCII_LOCALE)
    assert page.rows[-1]["Seeds"] == "0.9700 ± 0.0141 (2)"


def test_where_the_locale_is_not_utf_8_a_model_card_still_is(model_root, tmp_path):
    version = model_root / "A" / "1"
    command = [sys.executable, "-c", WRITE_CARD, version, tmp_path]
    subprocess.run(command, env=os.environ | ASCII_LOCALE, check=True)
    card = (tmp_path / MODEL_CARD_FILE).read_bytes()
    assert (version / MODEL_CARD_FILE).read_bytes().startswith(card)


def test_a_confusion_that_never_happened_is_not_named():
    matrix = [[0] * 10 for _ in range(10)]
    matrix[4][9], matrix[7][2], matrix[3][3] = 2, 1, 8
    assert confusion.named(matrix, 5) == "4 read as 9 (2 times), 7 read as 2 (1 time)"
    assert confusion.accuracies(matrix)[3:5] == [1.0, 0.0]


def test_the_words_of_a_picture_speak_of_one_epoch_and_of_one_error():
    epoch = {"loss": 0.2, "accuracy": 0.9, "val_loss": 0.1, "val_accuracy": 0.95}
    assert figures.curves("A", [epoch]).alt.startswith("Learning curves of model A, 1 epoch: validation loss")
    matrix = [[8 * (digit == answer) for answer in range(10)] for digit in range(10)]
    matrix[4][9] = 1
    assert figures.confusions("A", matrix).alt == "Confusion matrix of model A, 1 error. 4 read as 9 (1 time)."


def test_figures_stand_out_from_the_colour_of_their_cell():
    matrix = [
        [1000 - 5 * digit if digit == answer else 5 * digit * (answer == 0) for answer in range(10)]
        for digit in range(10)
    ]
    [axes] = figures.per_digit({"A": matrix}).figure.axes
    [image] = axes.images
    assert len(axes.texts) == 10
    for text in axes.texts:
        column, line = text.get_position()
        cell = figures.luminance(image.to_rgba(image.get_array())[line, column, :3])
        dark, light = sorted([cell, figures.luminance(text.get_color())])
        assert (light + 0.05) / (dark + 0.05) >= 4.5  # what WCAG 2 asks for


def crowded():
    """The published results, and the same with A and B as another machine measured them."""
    rows = [results.Result(**row) for row in json.loads((ROOT / "docs/results.json").read_text())]
    seconds = {"A": 109, "B": 113}
    return rows, [replace(row, core_seconds=seconds.get(row.model, row.core_seconds)) for row in rows]


@pytest.mark.parametrize("rows", crowded())
@pytest.mark.parametrize("draw", [tradeoff.against_time, tradeoff.against_parameters])
def test_no_name_stands_on_a_bar_or_another_name(draw, rows):
    figure = draw(rows).figure
    figure.draw_without_rendering()
    [axes] = figure.axes
    names = [text.get_window_extent() for text in axes.texts]
    bars = [ends for bar in axes.collections for ends in bar.get_segments()]
    assert min(len(names), len(bars)) >= len(rows)
    for name in names:
        assert not any(name.overlaps(other) for other in names if other is not name)
        assert not any(name.overlaps(Bbox(axes.transData.transform(ends))) for ends in bars)


@pytest.mark.parametrize("models", ["AB", "AF", results.MODELS])
@pytest.mark.parametrize("draw", [tradeoff.against_time, tradeoff.against_parameters])
def test_an_axis_says_that_it_is_logarithmic_and_its_numbers_stand_apart(draw, models):
    [axes] = draw([row for row in crowded()[1] if row.model in models]).figure.axes
    axes.figure.draw_without_rendering()
    assert axes.get_xlabel().endswith(" (log scale)")
    low, high = axes.get_xlim()
    shown = [mark for mark in axes.xaxis.get_major_ticks() if low < mark.get_loc() < high]
    numbers = [mark.label1.get_window_extent() for mark in shown]
    assert len(numbers) >= 3
    assert all(left.x1 < right.x0 for left, right in pairwise(numbers))


def test_of_two_neighbours_the_left_one_has_its_name_to_the_left():
    figure = tradeoff.against_time(crowded()[1]).figure
    sides = {text.get_text(): text.get_ha() for text in figure.axes[0].texts}
    assert (sides["A"], sides["B"]) == ("right", "left")
