"""Uvicorn's HTTP/1.1 connection with two limits that it lacks: how many there are, and how long they may be idle."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Connection(H11Protocol):
    """Refused at once when there are as many as `limit_concurrency`; closed when no request comes in time.

    Each costs a file descriptor, and whoever takes them all, idle or with a header that never ends, would shut out gRPC
    too.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, if there is room."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.timeout_keep_alive, self._close_if_idle, None)
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            transport.write(BUSY)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._timer.cancel()
        super().connection_lost(exc)

    def _close_if_idle(self, earlier: Any) -> None:
        """Close the connection if no request is under way, and none has come since the earlier one."""
        request: Any = self.cycle
        if request is earlier and (request is None or request.response_complete):
            self.transport.close()
        else:
            self._timer = self.loop.call_later(self.timeout_keep_alive, self._close_if_idle, request)
