"""The dataplane behind TensorFlow Serving's REST routes, an ASGI application: bodies in and out, errors to HTTP codes.

Sources: tensorflow_serving/model_servers/http_rest_api_handler.cc, http_rest_api_util.cc and http_server.cc.
"""

import asyncio
import json
import re
import zlib
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import unquote

from client.proto.serving_pb2 import GetModelMetadataRequest, GetModelStatusRequest, ModelSpec, PredictRequest
from serving import json_bodies
from serving.dataplane import SIGNATURE_DEF, Dataplane
from serving.errors import ServingError, invalid
from serving.metrics import CONTENT_TYPE
from serving.monitor import Monitor

THREADS = 8
"""As many as gRPC has."""
MAX_BODY_BYTES = 100 << 20
"""Of a body, and of what gunzip makes of it, for which TensorFlow Serving has this limit too: 30,000 images."""
METRICS_PATH = "/monitoring/prometheus/metrics"
_VERSION = "(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_ROUTES = {
    "POST": re.compile(f"(?i:/v1/models/(?P<name>[^/:]+){_VERSION}):(?P<verb>classify|regress|predict)"),
    "GET": re.compile(f"(?i:/v1/models(?:/(?P<name>[^/:]+))?{_VERSION}(?:/(?P<verb>metadata))?)"),
}
HTTP_CODES = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""gRPC status name → HTTP code; 500 for all others."""

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    code: int
    body: bytes
    content_type: str = "application/json"


class RestApi:
    """The ASGI application. `timeout_seconds` is the most that a request may take, its body's way here included."""

    def __init__(self, dataplane: Dataplane, monitor: Monitor, timeout_seconds: float) -> None:
        self._dataplane, self._monitor, self._timeout = dataplane, monitor, timeout_seconds
        self._threads = ThreadPoolExecutor(THREADS, "rest")
        self._predict = monitor.watched("REST", "predict", self._predict_json)
        self._status = monitor.watched("REST", "status", dataplane.get_model_status)
        self._metadata = monitor.watched("REST", "metadata", dataplane.get_model_metadata)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._answer(scope, receive)
        except TimeoutError:
            answer = _refusal(ServingError("DEADLINE_EXCEEDED", "Timed out waiting for notification"))
        except ServingError as error:
            answer = _refusal(error)
        except Exception as error:
            answer = _refusal(self._monitor.fault(error))
        headers = [(b"content-type", answer.content_type.encode()), (b"content-length", b"%d" % len(answer.body))]
        await send({"type": "http.response.start", "status": answer.code, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        method, path = scope["method"], scope["raw_path"].decode("latin-1")
        if path == METRICS_PATH and method == "GET":
            return Answer(200, self._monitor.page().encode(), CONTENT_TYPE)
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
        return await run(self._post, route, await _read_body(scope, receive), _is_gzip(scope))

    def _get(self, route: re.Match[str]) -> Answer:
        if route["name"] is None and route.end() == len("/v1/models"):
            return _json(json_bodies.list_document(self._dataplane.list_models()))
        if route["name"] is None:
            raise invalid("Missing model name in request.")
        if route["verb"]:
            request = GetModelMetadataRequest(model_spec=_spec(route), metadata_field=[SIGNATURE_DEF])
            return _json(json_bodies.metadata_document(self._metadata(request)))
        return _json(json_bodies.status_document(self._status(GetModelStatusRequest(model_spec=_spec(route)))))

    def _post(self, route: re.Match[str], body: bytes, is_gzip: bool) -> Answer:
        if route["verb"] != "predict":
            raise ServingError(
                "UNIMPLEMENTED",
                f"{route['verb']} takes tf.Example records, which the digit models do not read. Use :predict",
            )
        return _json(self._predict(PredictRequest(model_spec=_spec(route)), body, is_gzip), indent=None)

    def _predict_json(self, request: PredictRequest, body: bytes, is_gzip: bool) -> dict[str, Any]:
        try:
            document = json_bodies.read_document(_gunzip(body) if is_gzip else body)
            request.model_spec.signature_name = json_bodies.read_signature_name(document)
            response = self._dataplane.predict(
                request, lambda signatures: json_bodies.complete(request, document, signatures)
            )
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


def _is_gzip(scope: Scope) -> bool:
    return b"gzip" in dict(scope["headers"]).get(b"content-encoding", b"")


async def _read_body(scope: Scope, receive: Receive) -> bytes:
    """Read a request's body. Raises RESOURCE_EXHAUSTED as soon as it is known to be too long."""
    announced = dict(scope["headers"]).get(b"content-length", b"0")
    size, parts, more = int(announced), [], True
    while more and size <= MAX_BODY_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ServingError("CANCELLED", "the caller has left")
        parts.append(message.get("body", b""))
        size, more = max(size, sum(map(len, parts))), message.get("more_body", False)
    _check_size(size)
    return b"".join(parts)


def _gunzip(body: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS + 16)
    try:
        content = unpacker.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise invalid(f"The body is not gzip, as Content-Encoding says: {error}") from None
    _check_size(len(content))
    if not unpacker.eof:
        raise invalid("The body is not gzip, as Content-Encoding says: it ends too early")
    return content


def _check_size(size: int) -> None:
    if size > MAX_BODY_BYTES:
        raise ServingError(
            "RESOURCE_EXHAUSTED", f"Body larger than {MAX_BODY_BYTES} bytes. Send fewer images at a time"
        )


def _refusal(error: ServingError) -> Answer:
    return Answer(HTTP_CODES.get(error.status, 500), _json({"error": str(error)}).body)


def _json(document: Any, indent: int | None = 4) -> Answer:
    """Write a document, for people indented as TensorFlow Serving does; for thousands of numbers that is slow."""
    return Answer(200, json.dumps(document, indent=indent, ensure_ascii=False).encode(errors="replace"))
