"""The report in a real Chromium: nothing overlaps, is cut or scrolls sideways, and nothing is asked of a network."""

import base64
import io
import json
import os
import shutil
import subprocess

import pytest
from PIL import Image

from serving.versions import BENCHMARK_FILE
from training import results

CHROMIUM = shutil.which("chromium")
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --hide-scrollbars --remote-debugging-pipe"""
FAULTS = """(() => {
  const faults = [], page = document.body.getBoundingClientRect();
  const say = (what, element) => faults.push(`${what}: ${element.tagName} ${element.alt || element.innerText}`);
  const shown = selector => [...document.querySelectorAll(selector)].filter(element => element.getClientRects().length);
  const width = document.documentElement.scrollWidth;
  if (width > innerWidth) faults.push(`scrolls to ${width}`);
  for (const element of shown("h1, h2, p, table, tr, td, th, figure, figcaption, img")) {
    const box = element.getBoundingClientRect();
    if (box.left < page.left || box.right > page.right) say("outside the page", element);
    if (element.scrollWidth > element.clientWidth + 1) say("cut", element);
    if (element.tagName == "IMG" && !(element.naturalWidth && box.width > 250)) say("not shown", element);
  }
  const blocks = shown("h1, h2, p, table, figure").map(element => [element, element.getBoundingClientRect()]);
  blocks.forEach(([element, a], index) => blocks.slice(index + 1).forEach(([other, b]) => {
    const apart = a.left >= b.right || b.left >= a.right || a.top >= b.bottom || b.top >= a.bottom;
    if (!apart) say(`overlaps ${other.tagName}`, element);
  }));
  return faults;
})()"""


class Chromium:
    """A browser that is told what to do in the DevTools protocol, over a pipe: no driver and no port."""

    def __init__(self, profile):
        (theirs_in, self.out), (self.into, theirs_out) = os.pipe(), os.pipe()

        def at_3_and_4():
            os.dup2(os.dup(theirs_in), 3)
            os.dup2(os.dup(theirs_out), 4)

        command = [CHROMIUM, *FLAGS.split(), f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL, close_fds=False, preexec_fn=at_3_and_4)
        os.close(theirs_in)
        os.close(theirs_out)
        self.answers = os.fdopen(self.into, "rb")
        self.buffer, self.events, self.number, self.session = b"", [], 0, None
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self.session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self(f"{domain}.enable")

    def __call__(self, method, **parameters):
        """Call a method of the protocol and wait for its answer; events that come before are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while (answer := self.read()).get("id") != self.number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def read(self):
        while b"\0" not in self.buffer:
            part = self.answers.read1(1 << 20)
            assert part, "chromium ended"
            self.buffer += part
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def open(self, path, width, scheme="light", media="screen"):
        """Show a file in a window of this width, in a light or dark scheme, or as it is printed."""
        self.events.clear()
        self("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
        self("Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}])
        self("Page.navigate", url=path.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self.read())

    def evaluate(self, expression):
        return self("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def screenshot(self):
        """Give a PNG of the whole page."""
        return base64.b64decode(self("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def close(self):
        os.close(self.out)  # the end of the pipe ends the browser
        self.process.wait(30)
        self.answers.close()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    if CHROMIUM is None:
        (pytest.fail if "CI" in os.environ else pytest.skip)("no chromium here; as root, make test installs it")
    browser = Chromium(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


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
    chromium.open(request.getfixturevalue(models), width, scheme)
    assert chromium.evaluate("innerWidth") == width
    assert chromium.evaluate(FAULTS) == []
    with Image.open(io.BytesIO(chromium.screenshot())) as image:
        grey = image.convert("L")
    assert grey.width == width
    assert grey.getpixel((1, 1)) == {"light": 255, "dark": 20}[scheme]
    darkest, lightest = grey.getextrema()
    assert lightest - darkest > 200


def test_paper_holds_the_whole_table_on_white_whatever_the_scheme(eight, chromium):
    chromium.open(eight, 1032, "dark", media="print")  # A4 across, within its margins
    assert chromium.evaluate(FAULTS) == []
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
    chromium.open(two, 390)
    chromium.evaluate(f"document.head.append(Object.assign(document.createElement('style'), {{innerText: '{fault}'}}))")
    assert any(line.startswith(found) for line in chromium.evaluate(FAULTS))


def test_the_page_asks_for_nothing_and_complains_of_nothing(two, chromium):
    chromium.open(two, 1280)
    requests = [event["params"] for event in chromium.events if event["method"] == "Network.requestWillBeSent"]
    asked = [request["request"]["url"] for request in requests]
    assert asked[0] == two.as_uri()
    assert all(url.startswith("data:") for url in asked[1:])
    complaints = {"Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"}
    assert [event for event in chromium.events if event["method"] in complaints] == []
