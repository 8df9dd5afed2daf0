"""A request's body: the event loop receives it for the thread that waits for it, within the server's limits."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from typing import Any

from serving.errors import ServingError, gone, invalid, too_late
from serving.limits import Limits

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]

MOST_MEMBERS = 16
"""gzip joins files as they are (RFC 1952). Each member copies those behind it: 16, before 64 MiB, take a second."""


class Body:
    """The body of a request (ASGI 3) that nobody has received yet. Made on the event loop, read on another thread.

    `advice` tells the sender of a body that is too long what to do instead.
    """

    def __init__(
        self, scope: Scope, receive: Receive, limits: Limits, advice: str = "Send fewer images at a time"
    ) -> None:
        self._headers, self._receive, self._advice = dict(scope["headers"]), receive, advice
        self._most_bytes, self._seconds = limits.message_mib << 20, limits.read_seconds
        self._loop = asyncio.get_running_loop()
        self._end: Future[None] = Future()

    def is_wanted(self) -> bool:
        """Tell whether the sender of a body that has been read still waits for the answer."""
        return not self._end.done()

    def read(self) -> bytes:
        """Wait for the body, and inflate it. Raises ServingError, also when its sender leaves or is too slow."""
        try:
            content = asyncio.run_coroutine_threadsafe(self.receive(), self._loop).result()
        except TimeoutError:
            raise too_late() from None
        except CancelledError:
            raise ServingError("CANCELLED", "the server stops") from None
        self._end = asyncio.run_coroutine_threadsafe(self._leave(), self._loop)
        return self._inflate(content) if b"gzip" in self._headers.get(b"content-encoding", b"") else content

    async def receive(self) -> bytes:
        """Receive the body as it is, on the event loop.

        Raises TimeoutError, and RESOURCE_EXHAUSTED as soon as the body is known to be too long.
        """
        size, parts, more = int(self._headers.get(b"content-length", b"0")), [], True
        async with asyncio.timeout(self._seconds):
            while more and size <= self._most_bytes:
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    raise gone()
                parts.append(message.get("body", b""))
                size, more = max(size, sum(map(len, parts))), message.get("more_body", False)
        self._check_size(size)
        return b"".join(parts)

    async def _leave(self) -> None:
        """Wait until the sender has left, or has the answer."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _inflate(self, body: bytes) -> bytes:
        content = b""
        for _ in range(MOST_MEMBERS):
            member = zlib.decompressobj(wbits=zlib.MAX_WBITS + 16)
            try:
                content += member.decompress(body, self._most_bytes + 1 - len(content))
            except zlib.error as error:
                raise invalid(f"The body is not gzip, as Content-Encoding says: {error}") from None
            self._check_size(len(content))
            if not member.eof:
                raise invalid("The body is not gzip, as Content-Encoding says: it ends too early")
            body = member.unused_data
            if not body:
                return content
        raise invalid(f"The body has more than {MOST_MEMBERS} gzip members. Compress it as one")

    def _check_size(self, size: int) -> None:
        if size > self._most_bytes:
            raise ServingError("RESOURCE_EXHAUSTED", f"Body larger than {self._most_bytes} bytes. {self._advice}")
