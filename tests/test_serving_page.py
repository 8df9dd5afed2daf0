"""The page's routes over plain HTTP: what they answer, what they refuse, and that the server goes on."""

import base64
import hashlib
import http.client
import io
import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from client import Client, read_image
from serving import page
from serving.errors import ServingError
from serving.limits import Rate

CLASSIFY = "/page/classify/digits"


def ask(address: str, method: str, path: str, body: bytes | None = None):
    """Send one request; gives the code, the body and the headers."""
    with closing(http.client.HTTPConnection(address, timeout=60)) as connection:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers


def classify(address: str, picture: bytes, path: str = CLASSIFY):
    code, body, headers = ask(address, "POST", path, picture)
    assert (headers["Content-Type"], headers["X-Content-Type-Options"]) == ("application/json", "nosniff")
    return code, json.loads(body)


def encoded(image: Image.Image, form: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, form)
    return stream.getvalue()


def seven(form: str = "PNG", side: int = 300, mode: str = "RGB") -> bytes:
    image = Image.new(mode, (side, side), "white")
    ImageDraw.Draw(image).line([(80, 70), (220, 65), (140, 250)], "black", 20, "curve")
    return encoded(image, form)


@pytest.fixture(scope="module")
def rest(endpoints: dict[str, str]) -> str:
    return endpoints["REST"]


def test_the_page_may_run_only_what_stands_in_it_and_ask_only_its_server(rest: str) -> None:
    code, body, headers = ask(rest, "GET", "/")
    assert (code, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
    [script] = re.findall(b"<script>(.*?)</script>", body, re.DOTALL)
    assert policy["script-src"] == f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"
    assert (policy["default-src"], policy["connect-src"], policy["frame-ancestors"]) == ("'none'", "'self'", "'none'")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert (headers["X-Frame-Options"], headers["X-Content-Type-Options"]) == ("DENY", "nosniff")
    assert set(re.findall(rb"https?://[\w.]+", body)) == {b"http://www.w3.org"}  # the name space of its icon


def test_a_picture_is_read_as_the_client_reads_it(rest: str, served: str, tmp_path) -> None:
    (tmp_path / "seven.png").write_bytes(seven())
    with Client(served) as client:
        [prediction] = client.classify([tmp_path / "seven.png"])
    code, answer = classify(rest, seven())
    assert code == 200
    assert answer["pixels"] == read_image(tmp_path / "seven.png").tolist()
    assert answer["probabilities"] == list(prediction.probabilities)
    assert answer.pop("milliseconds") > 0
    assert {name: answer[name] for name in ("digit", "model", "model_version", "runner_up")} == {
        "digit": prediction.digit,
        "model": "digits",
        "model_version": 1,
        "runner_up": prediction.runner_up,
    }


def test_no_other_page_and_no_cache_keeps_an_answer(rest: str) -> None:
    _, _, headers = ask(rest, "POST", CLASSIFY, seven())
    assert headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP"])
def test_what_browsers_and_phones_make_is_read(rest: str, form: str) -> None:
    code, answer = classify(rest, seven(form))
    assert (code, len(answer["probabilities"])) == (200, 10)


def test_blank_paper_is_an_answer(rest: str) -> None:
    code, answer = classify(rest, encoded(Image.new("L", (300, 300), 255)))
    assert (code, answer["digit"], answer["notes"], answer["pixels"]) == (200, None, ["no digit found"], None)


def test_several_digits_are_noted(rest: str) -> None:
    one = Image.open(io.BytesIO(seven()))
    both = Image.new("RGB", (600, 300))
    both.paste(one)
    both.paste(one, (300, 0))
    assert "several digits?" in classify(rest, encoded(both))[1]["notes"]


@pytest.mark.parametrize(("runner_up", "notes"), [(0.15, ["or 9?"]), (0.1, [])])
def test_a_close_runner_up_is_noted(runner_up: float, notes: list[str]) -> None:
    prediction = SimpleNamespace(probability=0.6, runner_up=9, runner_up_probability=runner_up)
    assert page.doubts(prediction) == notes


PNG_HEAD = b"\x89PNG\r\n\x1a\n"
NOT_READ = "not a PNG or JPEG or WEBP or BMP file"
REFUSED = {
    "a text": (b"seven", 400, NOT_READ),
    "nothing": (b"", 400, NOT_READ),
    "a script": (b"<script>alert(1)</script>", 400, NOT_READ),
    "a million frames": (encoded(Image.new("P", (28, 28)), "GIF"), 400, NOT_READ),
    "a program": (encoded(Image.new("L", (28, 28)), "EPS"), 400, NOT_READ),
    "a bomb": (encoded(Image.new("1", (10_000, 10_000))), 400, "10000x10000 pixels, more than 16 million"),
    "half a picture": (seven()[:500], 400, "a damaged image (image file is truncated)"),
    "50 MB": (PNG_HEAD + bytes(50_000_000), 429, "Body larger than 16777216 bytes. Make the picture smaller"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_is_one_line_and_the_server_goes_on(rest: str, name: str) -> None:
    picture, code, text = REFUSED[name]
    with closing(http.client.HTTPConnection(rest, timeout=60)) as connection:
        connection.putrequest("POST", CLASSIFY)
        connection.putheader("Content-Length", str(len(picture)))
        connection.endheaders()
        connection.send(picture[: 16 << 20])  # more is refused by its length, before it comes
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())) == (code, {"error": text})
    assert classify(rest, seven())[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "text"),
    [
        ("GET", CLASSIFY, f"Nothing is at GET {CLASSIFY}; the page is at /"),
        ("POST", "/", "Nothing is at POST /; the page is at /"),
        ("GET", "/page/digits/20.png", "Nothing is at GET /page/digits/20.png; the page is at /"),
        ("GET", "/page/../page.html", "Nothing is at GET /page/../page.html; the page is at /"),
        ("POST", "/page/classify/x%2Fy", "Servable not found for request: Latest(x/y)"),
    ],
)
def test_elsewhere_is_nothing(rest: str, method: str, path: str, text: str) -> None:
    code, body, _ = ask(rest, method, path, seven() if method == "POST" else None)
    assert (code, json.loads(body)) == (404, {"error": text})


def test_the_gallery_is_of_the_last_test_images_and_is_read_as_it_is(rest: str, mnist_test) -> None:
    images, labels = mnist_test[0][5000:], mnist_test[1][5000:]
    for n in range(20):
        code, body, headers = ask(rest, "GET", f"/page/digits/{n}.png")
        assert (code, headers["Content-Type"]) == (200, "image/png")
        expected = images[np.flatnonzero(labels == n % 10)[n // 10]]
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(body))), expected)
    assert classify(rest, body)[1]["pixels"] == expected.tolist()


def begin(address: str) -> http.client.HTTPConnection:
    """Announce a picture and send half of it."""
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.putrequest("POST", CLASSIFY)
    connection.putheader("Content-Length", "1000")
    connection.endheaders()
    connection.send(bytes(500))
    return connection


def test_a_ninth_picture_at_a_time_is_refused_and_nothing_else_is(launch, wait_until) -> None:
    server = launch()
    address = server.endpoints["REST"]
    busy = {"error": "8 in flight already, as many as this server takes at a time"}
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(closing(begin(address)))
        wait_until(lambda: classify(address, seven()) == (429, busy))
        assert ask(address, "GET", "/")[0] == 200
        assert server.version() == 1
    wait_until(lambda: classify(address, seven())[0] == 200)


def test_somebody_who_sends_too_fast_is_told_so(launch) -> None:
    server = launch()
    blank = encoded(Image.new("L", (28, 28)))
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: classify(server.endpoints["REST"], blank), range(300)))
    codes = Counter(code for code, _ in answers)
    assert codes.keys() == {200, 429}
    assert codes[200] >= page.BURST
    assert {"error": "more than 30 a second. Try again in a moment"} in [answer for _, answer in answers]
    assert server.version() == 1


def test_a_rate_lets_bursts_through_and_knows_callers_apart(wait_until) -> None:
    rate = Rate(per_second=0.5, burst=2)  # so slow that no pause between two lines lets one more in

    def let_in(caller: str) -> bool:
        try:
            rate.check(caller)
        except ServingError as error:
            assert error.status == "RESOURCE_EXHAUSTED"
            return False
        return True

    assert [let_in("a") for _ in range(3)] == [True, True, False]
    assert let_in("b")
    wait_until(lambda: let_in("a"))
    assert not let_in("a")  # there was room for one more


def test_a_rate_forgets_who_has_not_come_for_long(monkeypatch) -> None:
    monkeypatch.setattr(Rate, "MOST_CALLERS", 2)
    rate = Rate(per_second=0.001, burst=1)
    for caller in "abc":
        rate.check(caller)
    rate.check("a")
    with pytest.raises(ServingError):
        rate.check("c")


def test_others_are_answered_while_a_large_picture_is_decoded(launch) -> None:
    server = launch()
    large = seven(side=3_900, mode="RGBA")
    with ThreadPoolExecutor(1) as threads:
        picture = threads.submit(classify, server.endpoints["REST"], large)
        answered = 0
        while not picture.done():
            assert server.version() == 1
            answered += not picture.done()
    assert picture.result()[0] == 200
    assert answered > 1


def test_without_rest_there_is_no_page(launch) -> None:
    server = launch("--no-rest")
    assert [line for line in server.lines if "draw a digit" in line] == []
