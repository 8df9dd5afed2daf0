"""The page at / of the REST port: draw a digit, or give a picture of one, and see what the model sees.

    GET  /                         the page: one file, which asks nobody else for anything
    GET  /page/digits/<n>.png      digit n of its gallery, from 0: 28×28, 255 = ink
    POST /page/classify/<model>    a picture's bytes; a JSON object comes back

The object is what `digits classify - --json` prints for the picture, with the `pixels` that the network was given
([28][28], 0 = paper, 255 = ink; null without a digit) and the `milliseconds` that it took here. A refusal is
`{"error": …}`, as everywhere on this port. Nothing is stored. Versions and the results table the page reads from
TensorFlow Serving's own routes.

gallery.png holds the first two of each digit in MNIST's last 5,000 test images, in two rows from 0 to 9.
"""

import asyncio
import base64
import hashlib
import io
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from PIL import Image

from client.answers import Prediction
from client.batches import Batch
from client.contract import CLASSES, IMAGE_SIZE
from client.errors import ContractMismatch
from client.image import Guard
from client.prepare import attempt
from client.proto.serving_pb2 import PredictRequest, PredictResponse
from client.questions import Peer
from client.report import record
from client.results import results
from serving.errors import ServingError, invalid
from serving.http_answer import Answer, as_json
from serving.http_body import Body, Receive, Scope
from serving.limits import Admission, Limits, Rate

PAGE_FILE = Path(__file__).with_name("page.html")
GALLERY_FILE = Path(__file__).with_name("gallery.png")
MOST_MIB = 16
"""A picture's bytes; phones' photos have 2 to 12 MB."""
GUARD = Guard(16_000_000, ("PNG", "JPEG", "WEBP", "BMP"))
"""What phones and browsers make. Left out: formats that run a program (EPS) or hide a million frames (GIF)."""
MOST_PICTURES = 8
"""Received or waiting at a time. They are decoded one after the other, which bounds memory and keeps cores free."""
PICTURES_PER_SECOND, BURST = 30, 60
"""From one address; a page sends ten a second while somebody draws."""
CLOSE = 0.2
"""The runner-up's probability, of the best's, from which the answer is in doubt: with an H, 52 of MNIST's 9,966
test images that it reads rightly and 25 of the 34 others."""
_NO_STORE = {"cache-control": "no-store"}


class Page:
    """Answers the page's routes; `predict` is the dataplane's."""

    def __init__(self, predict: Callable[[PredictRequest], PredictResponse], limits: Limits) -> None:
        self._predict = predict
        self._limits = replace(limits, message_mib=min(limits.message_mib, MOST_MIB))
        self._pictures, self._rate = Admission(MOST_PICTURES), Rate(PICTURES_PER_SECOND, BURST)
        self._thread = ThreadPoolExecutor(1, "page")
        self._files = {"/": _page(PAGE_FILE.read_text("utf-8"))}
        self._files |= {f"/page/digits/{n}.png": answer for n, answer in enumerate(_gallery())}

    def has(self, path: str) -> bool:
        """Tell whether a path is the page's."""
        return path == "/" or path.startswith("/page/")

    async def answer(self, scope: Scope, receive: Receive) -> Answer:
        """Answer a request. Raises ServingError, and TimeoutError when its body takes too long."""
        method, path = scope["method"], scope["raw_path"].decode("latin-1")
        if method in ("GET", "HEAD") and path in self._files:
            return self._files[path]
        route = re.fullmatch("/page/classify/([^/]+)", path)
        if method != "POST" or not route:
            raise ServingError("NOT_FOUND", f"Nothing is at {method} {path}; the page is at /")
        self._rate.check((scope.get("client") or ("",))[0])
        with self._pictures:
            body = await Body(scope, receive, self._limits, "Make the picture smaller").receive()
            run = asyncio.get_running_loop().run_in_executor
            return await run(self._thread, self._classify, unquote(route[1]), body)

    def _classify(self, model: str, picture: bytes) -> Answer:
        start = time.perf_counter()
        batch = Batch([picture], [attempt(picture, GUARD)])
        (result,) = results(batch, self._predictions(model, batch))
        document = record("-", result)
        if "error" in document:
            raise invalid(document["error"])
        if result.prediction:
            document["notes"] = [*document["notes"], *doubts(result.prediction)]
        document["pixels"] = batch.images[0].tolist() if batch.images else None
        document["milliseconds"] = round(1e3 * (time.perf_counter() - start), 2)
        return replace(as_json(document, indent=None), headers=_NO_STORE)

    def _predictions(self, model: str, batch: Batch) -> list[Prediction]:
        if not batch.images:
            return []
        question = Peer("this server", model).predict(batch.images)
        try:
            return question.read(self._predict(question.request))
        except ContractMismatch as error:
            raise ServingError(error.status, str(error)) from None


def doubts(prediction: Prediction) -> list[str]:
    """Give a note when the runner-up is close, else none."""
    close = prediction.runner_up_probability > CLOSE * prediction.probability
    return [f"or {prediction.runner_up}?"] if close else []


def _page(html: str) -> Answer:
    """Give the page, with a policy that lets the browser run what stands in it, by its hash, and nothing else."""
    policy = {
        "default-src": "'none'",
        "script-src": _hash("script", html),
        "style-src": _hash("style", html),
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    headers = {
        "cache-control": "no-cache",
        "content-security-policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "x-frame-options": "DENY",
    }
    return Answer(200, html.encode(), "text/html; charset=utf-8", headers)


def _hash(tag: str, html: str) -> str:
    """Give the hash of the page's only element of that kind, as a Content-Security-Policy names it."""
    [content] = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _gallery() -> list[Answer]:
    """Cut the gallery into its digits."""
    with Image.open(GALLERY_FILE) as sprite:
        corners = [(IMAGE_SIZE * (n % CLASSES), IMAGE_SIZE * (n // CLASSES)) for n in range(2 * CLASSES)]
        digits = [sprite.crop((x, y, x + IMAGE_SIZE, y + IMAGE_SIZE)) for x, y in corners]
    return [Answer(200, _png(digit), "image/png", {"cache-control": "max-age=3600"}) for digit in digits]


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
