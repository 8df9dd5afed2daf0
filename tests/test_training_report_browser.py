"""The report in a real Chromium: nothing overlaps, is cut or scrolls sideways, and nothing is asked of a network."""

import io
import json
import shutil

import pytest
from PIL import Image

from serving.versions import BENCHMARK_FILE
from training import results

BOXES = "h1, h2, p, table, tr, td, th, figure, figcaption, img"
BLOCKS = "h1, h2, p, table, figure"


@pytest.fixture(scope="module")
def two(model_root, digits, tmp_path_factory):
    """The page of two models."""
    return page_of(model_root, digits, tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def eight(model_root, digits, tmp_path_factory):
    """The page of eight models with the longest words and numbers that there will be."""
    folder = tmp_path_factory.mktemp("eight")
    for model in results.MODELS:
        shutil.copytree(model_root / "A", folder / "models" / model)
        path = folder / "models" / model / "1" / BENCHMARK_FILE
        content = json.loads(path.read_text())
        (row,) = [row for row in content["results"] if row["run"] == content["run"]]
        words = {"model": model, "description": "Similar to LeNet including dropout at the final layers"}
        numbers = {"parameters": 1_243_268, "seconds": 12_345.0, "seed_accuracies": [[0.9912, 0.9934], [0.992, 0.9921]]}
        path.write_text(json.dumps(content | {"results": [row | words | numbers]}))
    shutil.copytree(folder / "models" / "ensemble", folder / "models" / "digits")
    return page_of(folder / "models", digits, folder)


def page_of(models, digits, folder):
    finished = digits("report", "--models", models, "--out", folder)
    assert finished.returncode == 0, finished.stderr
    return folder / "report.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1280])
@pytest.mark.parametrize("models", ["two", "eight"])
def test_nothing_overlaps_is_cut_or_scrolls_sideways(models, width, scheme, chromium, request):
    chromium.open(request.getfixturevalue(models).as_uri(), width, scheme)
    assert chromium.evaluate("innerWidth") == width
    assert chromium.faults(BOXES, BLOCKS, 250) == []
    with Image.open(io.BytesIO(chromium.screenshot())) as image:
        grey = image.convert("L")
    assert grey.width == width
    assert grey.getpixel((1, 1)) == {"light": 255, "dark": 20}[scheme]
    darkest, lightest = grey.getextrema()
    assert lightest - darkest > 200


def test_paper_holds_the_whole_table_on_white_whatever_the_scheme(eight, chromium):
    chromium.open(eight.as_uri(), 1032, "dark", media="print")  # A4 across, within its margins
    assert chromium.faults(BOXES, BLOCKS, 250) == []
    assert chromium.evaluate("getComputedStyle(document.querySelector('thead')).display") == "table-header-group"
    assert chromium.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("table { width: 2000px }", "scrolls to"),
        ("figure { margin-bottom: -90px }", "overlaps"),
        ("p { white-space: nowrap; overflow: hidden }", "cut"),
        ("img { width: 100px !important }", "not shown"),
        ("h2 { margin-left: -40px }", "outside the page"),
    ],
)
def test_such_faults_would_be_found(fault, found, two, chromium):
    chromium.open(two.as_uri(), 390)
    chromium.evaluate(f"document.head.append(Object.assign(document.createElement('style'), {{innerText: '{fault}'}}))")
    assert any(line.startswith(found) for line in chromium.faults(BOXES, BLOCKS, 250))


def test_the_page_asks_for_nothing_and_complains_of_nothing(two, chromium):
    chromium.open(two.as_uri(), 1280)
    asked = chromium.requested()
    assert asked[0] == two.as_uri()
    assert all(url.startswith("data:") for url in asked[1:])
    assert chromium.complaints() == []
