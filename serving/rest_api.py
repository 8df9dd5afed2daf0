"""The dataplane behind TensorFlow Serving's REST routes, an ASGI application: bodies in and out, errors to HTTP codes.

Sources: tensorflow_serving/model_servers/http_rest_api_handler.cc, http_rest_api_util.cc and http_server.cc.
"""

import asyncio
import re
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import unquote

from client.proto.serving_pb2 import GetModelMetadataRequest, GetModelStatusRequest, ModelSpec, PredictRequest
from serving import json_bodies, json_documents
from serving.dataplane import SIGNATURE_DEF, Dataplane
from serving.errors import ServingError, invalid, too_late
from serving.http_answer import Answer, Send, as_json, refusal
from serving.http_body import Body, Receive, Scope
from serving.limits import Budget, Limits
from serving.metrics import CONTENT_TYPE
from serving.monitor import Monitor
from serving.page import Page
from serving.signatures import Signatures

METRICS_PATH = "/monitoring/prometheus/metrics"
_VERSION = "(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_ROUTES = {
    "POST": re.compile(f"(?i:/v1/models/(?P<name>[^/:]+){_VERSION}):(?P<verb>classify|regress|predict)"),
    "GET": re.compile(f"(?i:/v1/models(?:/(?P<name>[^/:]+))?{_VERSION}(?:/(?P<verb>metadata))?)"),
}
_ORIGIN = re.compile(b"^(?i:https?)://[^/]*")


class RestApi:
    """The ASGI application. `timeout_seconds` is the most that a request may take, its body's way here included."""

    def __init__(self, dataplane: Dataplane, monitor: Monitor, limits: Limits, timeout_seconds: float) -> None:
        self._dataplane, self._monitor, self._limits, self._timeout = dataplane, monitor, limits, timeout_seconds
        self._page = Page(monitor.watched("REST", "predict", dataplane.predict), limits)
        self._threads = ThreadPoolExecutor(limits.threads, "rest")
        self._predict = monitor.watched("REST", "predict", self._predict_json)
        self._status = monitor.watched("REST", "status", dataplane.get_model_status)
        self._metadata = monitor.watched("REST", "metadata", dataplane.get_model_metadata)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        until = time.monotonic() + self._timeout
        try:
            async with asyncio.timeout_at(until):
                answer = await self._answer(scope, receive, until)
        except TimeoutError:
            answer = refusal(too_late())
        except ServingError as error:
            answer = refusal(error)
        except Exception as error:
            answer = refusal(self._monitor.fault(error))
        await answer.send(send)

    async def _answer(self, scope: Scope, receive: Receive, until: float) -> Answer:
        scope["raw_path"] = _ORIGIN.sub(b"", scope["raw_path"]) or b"/"  # proxies are sent whole URLs
        method, path = scope["method"], scope["raw_path"].decode("latin-1")
        if path == METRICS_PATH and method == "GET":
            return Answer(200, self._monitor.page(self._dataplane.rows_waiting).encode(), CONTENT_TYPE)
        if self._page.has(path):
            return await self._page.answer(scope, receive)
        if not path.lower().startswith("/v1/"):
            raise ServingError("NOT_FOUND", f"Nothing is at {path}; the models are at /v1/models")
        if method == "OPTIONS":
            origin = dict(scope["headers"]).get(b"origin", b"")
            return Answer(200 if origin.startswith((b"http://", b"https://")) else 400, b"")
        if scope["query_string"]:  # part of the path for TensorFlow Serving, which takes no queries
            path += "?" + scope["query_string"].decode("latin-1")
        route = _ROUTES[method].fullmatch(path) if method in _ROUTES else None
        if not route:
            raise invalid(f"Malformed request: {method} {path}")
        if _version(route) >= 2**63:
            return Answer(400, b"")
        run = partial(asyncio.get_running_loop().run_in_executor, self._threads)
        if method == "GET":
            return await run(self._get, route)
        return await run(self._post, route, Body(scope, receive, self._limits), until)

    def _get(self, route: re.Match[str]) -> Answer:
        if route["name"] is None and route.end() == len("/v1/models"):
            return as_json(json_documents.list_document(self._dataplane.list_models()))
        if route["name"] is None:
            raise invalid("Missing model name in request.")
        if route["verb"]:
            request = GetModelMetadataRequest(model_spec=_spec(route), metadata_field=[SIGNATURE_DEF])
            return as_json(json_documents.metadata_document(self._metadata(request)))
        return as_json(json_documents.status_document(self._status(GetModelStatusRequest(model_spec=_spec(route)))))

    def _post(self, route: re.Match[str], body: Body, until: float) -> Answer:
        if route["verb"] != "predict":
            raise ServingError(
                "UNIMPLEMENTED",
                f"{route['verb']} takes tf.Example records, which the digit models do not read. Use :predict",
            )
        return as_json(self._predict(PredictRequest(model_spec=_spec(route)), body, until), indent=None)

    def _predict_json(self, request: PredictRequest, body: Body, until: float) -> dict[str, Any]:
        document: dict[str, Any] = {}

        def read() -> None:
            document.update(json_bodies.read_document(body.read()))
            Budget(self._limits.images).check_rows(json_bodies.count_rows(document))
            request.model_spec.signature_name = json_bodies.read_signature_name(document)

        def complete(signatures: Signatures) -> None:
            json_bodies.complete(request, document, signatures)

        try:
            seconds_left, wanted = until - time.monotonic(), body.is_wanted
            response = self._dataplane.predict(request, seconds_left, read=read, complete=complete, wanted=wanted)
            request.model_spec.CopyFrom(response.model_spec)  # tells the monitor which version answered
            return json_bodies.write_outputs(document, response.outputs)
        except RecursionError:
            raise invalid("JSON Parse error: Lists or objects are nested too deep.") from None
        except UnicodeEncodeError:
            raise invalid("JSON Parse error: The surrogate pair in string is invalid.") from None


def _version(route: re.Match[str]) -> int:
    """Read the version in a path, which may have any number of digits; beyond 20 it is only known to be large."""
    return int((route["version"] or "").lstrip("0")[:20] or "0")


def _spec(route: re.Match[str]) -> ModelSpec:
    spec = ModelSpec(name=unquote(route["name"]))
    if route["version"]:
        spec.version.value = _version(route)
    elif route["label"]:
        spec.version_label = unquote(route["label"])
    return spec
