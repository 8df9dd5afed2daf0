"""What HTTP is answered: codes, bodies and headers; errors as TensorFlow Serving writes them."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from serving.errors import ServingError

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

Send = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; browsers are told to take its type as it is, and what else the headers say."""

    code: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    async def send(self, send: Send) -> None:
        """Send it (ASGI 3)."""
        headers = {
            "content-type": self.content_type,
            "content-length": str(len(self.body)),
            "x-content-type-options": "nosniff",
            **self.headers,
        }
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": self.code, "headers": pairs})
        await send({"type": "http.response.body", "body": self.body})


def refusal(error: ServingError) -> Answer:
    """Make the answer for an error, with its text as `{"error": …}`."""
    return Answer(HTTP_CODES.get(error.status, 500), as_json({"error": str(error)}).body)


def as_json(document: Any, indent: int | None = 4) -> Answer:
    """Write a document, for people indented as TensorFlow Serving does; for thousands of numbers that is slow."""
    return Answer(200, json.dumps(document, indent=indent, ensure_ascii=False).encode(errors="replace"))
