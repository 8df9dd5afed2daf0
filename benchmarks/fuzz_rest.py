"""Fuzzed HTTP requests against the REST port of a running server, some at a time: see benchmarks/fuzz.py."""

import gzip
import json
import random
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException, HTTPResponse
from itertools import islice
from typing import Any, NamedTuple

from benchmarks.fuzz_grpc import NAMES, Surprise

PREDICT = "/v1/models/digits:predict"
DOCUMENTED = {200, 400, 404, 429, 501}
CLOSED = "closed"
"""What a message is answered that ended before it was whole."""
THREADS = 8
NUMBERS = [
    0,
    255,
    256,
    -1,
    0.5,
    1e39,
    10**400,
    True,
    None,
    "x",
    "\ud800",
    [],
    {},
    {"b64": "AAAA"},
    {"b64": "x"},
    {"x": 1},
]
HEADERS = ["content-encoding", "content-type", "accept", "expect", "connection", "upgrade", "transfer-encoding"]
VALUES = [
    "gzip",
    "identity",
    "br",
    "100-continue",
    "x" * 9000,
    "chunked",
    "keep-alive, close",
    "h2c",
    "websocket",
    "\t",
]


class Request(NamedTuple):
    """An HTTP message as it is sent; one that is not whole is followed by the end of the connection."""

    content: bytes
    whole: bool = True


def requests(seed: int) -> Iterator[Request]:
    """Make requests without end, the same for a seed."""
    chance = random.Random(seed)
    kinds = [_random_body, _mutated, _strange_document, _strange_document, _strange_path, _strange_gzip, _cut, _headers]
    while True:
        yield chance.choice(kinds)(chance)


def _message(body: bytes, path: str = PREDICT, method: str = "POST", **headers: str) -> Request:
    fields = {"host": "x", "content-length": str(len(body)), **headers}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())]
    return Request("\r\n".join([*lines, "", ""]).encode() + body)


def _document(count: int = 1) -> dict[str, Any]:
    return {"signature_name": "serving_default", "instances": [[[0] * 28] * 28] * count}


def _random_body(chance: random.Random) -> Request:
    return _message(chance.randbytes(chance.randrange(300)))


def _mutated(chance: random.Random) -> Request:
    body = bytearray(json.dumps(_document(chance.randrange(1, 3))).encode())
    for _ in range(chance.randrange(1, 8)):
        at = chance.randrange(min(len(body), chance.choice([50, len(body)])))
        body[at : at + chance.randrange(3)] = chance.choice([chance.randbytes(2), b"[", b"]", b"}", b'"', b"1e9", b"-"])
    return _message(bytes(body))


def _strange_document(chance: random.Random) -> Request:
    value: Any = chance.choice(NUMBERS)
    for size in chance.choices([[], [1], [28, 28], [28, 28, 1], [27, 28, 2], [0, 28, 28], [1, 2, 1, 2, 1]], k=1)[0]:
        value = [value] * size
    if chance.random() < 0.1:
        value = json.loads("[" * 500 + "]" * 500)
    document = _document()
    del document["instances"]
    for key in chance.choices(["instances", "inputs", "x"], [6, 4, 1], k=chance.choice([1, 1, 1, 2])):
        document[key] = chance.choice([value, {"images": value}, [{"images": value}], {"images": value, "x": 1}])
    document["signature_name"] = chance.choice(["serving_default", "benchmark", "", 1, None, "x", [], "\0"])
    return _message(json.dumps(document).encode())


def _strange_path(chance: random.Random) -> Request:
    name = chance.choice([*NAMES, "%64igits", "%00", "%ff", "%", "digits:", "."]).encode("ascii", "backslashreplace")
    version = chance.choice(
        ["", "/versions/1", "/versions/0", f"/versions/{2**63}", "/versions/x", "/labels/x", "/labels/"]
    )
    verb = chance.choice(
        [":predict", ":classify", ":x", "", "/metadata", "/metadata/x", "?x=1", "#", ":predict:predict"]
    )
    path = (
        chance.choice(["/v1/models/", "/V1/MODELS/", "/v1/models", "/v2/", "/", "//", "/monitoring/"]) + name.decode()
    )
    path = path.replace("\0", "%00").replace("\\", "%5C") + version + verb
    method = chance.choice(["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "X"])
    return _message(json.dumps(_document()).encode() if method == "POST" else b"", path, method)


def _strange_gzip(chance: random.Random) -> Request:
    body = gzip.compress(json.dumps(_document()).encode(), mtime=0)
    cut = chance.choice(
        [
            body,
            body[: chance.randrange(len(body))],
            chance.randbytes(50),
            body + b"x",
            gzip.compress(bytes(1 << 22), mtime=0),
        ]
    )
    return _message(cut, content_encoding=chance.choice(["gzip", "gzip", "x-gzip", "GZIP", "deflate"]))


def _headers(chance: random.Random) -> Request:
    odd = {chance.choice(HEADERS): chance.choice(VALUES) for _ in range(chance.randrange(1, 4))}
    if chance.random() < 0.3:
        odd["content-length"] = chance.choice(["-1", "x", "1" * 30, "0", "5, 5", "", "1e3"])
    return Request(_message(json.dumps(_document()).encode(), **odd).content, whole=False)


def _cut(chance: random.Random) -> Request:
    """End in the middle: of the head, of the body, or of a chunk."""
    whole = _message(json.dumps(_document()).encode()).content
    chunked = whole.replace(b"content-length", b"transfer-encoding: chunked\r\nx").replace(
        b"\r\n\r\n", b"\r\n\r\n40\r\n"
    )
    content = chance.choice([whole, whole, chunked])
    return Request(content[: chance.randrange(1, len(content))], whole=False)


def run(address: str, count: int, seed: int = 0) -> Counter[str]:
    """Send so many requests over some connections, and count the codes. Raises Surprise."""
    with ThreadPoolExecutor(THREADS) as pool:
        parts = [
            pool.submit(_send, address, (count + number) // THREADS, seed * THREADS + number)
            for number in range(THREADS)  # together they send `count`
        ]
    return sum((part.result() for part in parts), Counter())


def _send(address: str, count: int, seed: int) -> Counter[str]:
    """Send requests one after the other; a connection lives until either side ends it."""
    seen: Counter[str] = Counter()
    right, fuzz = _ask_well(address), islice(requests(seed), count)
    while seen.total() < count:
        if _ask_well(address) != right:
            raise Surprise("a good request is answered differently than at the beginning")
        with _connect(address) as connection:
            for request in fuzz:
                code, _, ended = _answer(connection, request)
                if code not in DOCUMENTED and (request.whole or code is not None):
                    raise Surprise(f"{code or 'nothing'} is the answer to {request.content!r}")
                seen[str(code or CLOSED)] += 1
                if ended:
                    break
    return seen


def _ask_well(address: str) -> tuple[int | None, bytes]:
    with _connect(address) as connection:
        code, body, _ = _answer(connection, _message(json.dumps(_document()).encode()))
    return code, body


def _connect(address: str) -> socket.socket:
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=60)


def _answer(connection: socket.socket, request: Request) -> tuple[int | None, bytes, bool]:
    """Give code, body, and whether the connection has ended; None is the code where the server says nothing."""
    try:
        connection.sendall(request.content)
        if not request.whole:
            connection.shutdown(socket.SHUT_WR)
        response = HTTPResponse(connection, method=request.content.split(b" ", 1)[0].decode("latin-1"))
        response.begin()
        return response.status, response.read(), response.will_close or not request.whole
    except (HTTPException, ConnectionError):
        return None, b"", True
