"""Uvicorn's HTTP/1.1 with what it lacks: limits of how many connections there are and how long idle, and a drain."""

import asyncio
import math
from concurrent.futures import Future
from select import select
from socket import socket
from typing import Any

from uvicorn import Config, Server
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.logs import Tell

LINGER_SECONDS = 1.0
"""How long a connection without a request stays open when the server stops: its caller may just be sending one."""
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

    def announce_end(self) -> None:
        """Say in the answer under way, too, that it is the last one here."""
        if self.cycle:
            self.cycle.default_headers = self.server_state.default_headers

    def shutdown(self) -> None:
        """Close the connection after its request, if one has begun, else at once."""
        if self.conn.trailing_data[0]:  # of a header; the rest is on its way, or never comes
            self._timer.cancel()
            self._timer = self.loop.call_later(LINGER_SECONDS, self._close_if_idle, self.cycle)
        else:
            super().shutdown()

    def _close_if_idle(self, earlier: Any) -> None:
        """Close the connection if no request is under way, and none has come since the earlier one."""
        request: Any = self.cycle
        if request is earlier and (request is None or request.response_complete):
            self.transport.close()
        else:
            self._timer = self.loop.call_later(self.timeout_keep_alive, self._close_if_idle, request)


class DrainingServer(Server):
    """Answers what was sent before callers could know that it stops, which Uvicorn's own resets: under load, a request
    of every busy connection. What goes wrong beside the requests is a line in the log, at most one a second: without
    file descriptors to accept connections with, it would be thousands."""

    def __init__(self, config: Config, log: Tell) -> None:
        super().__init__(config)
        self._log, self._silent_until = log, -math.inf
        self.began: Future[None] = Future()
        """Done when connections are accepted, or with what went wrong before."""

    def run(self, sockets: list[socket] | None = None) -> None:
        """Serve until told to stop."""
        try:
            with asyncio.Runner() as runner:
                runner.get_loop()  # needs three file descriptors
                runner.run(self.serve(sockets))
        except Exception as error:
            if self.began.done():
                raise
            self.began.set_exception(error)

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Begin."""
        asyncio.get_running_loop().set_exception_handler(self._tell)
        await super().startup(sockets)
        self.began.set_result(None)

    def _tell(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if loop.time() >= self._silent_until:
            self._silent_until = loop.time() + 1
            self._log(f"error: REST: {context['message']}: {context.get('exception')!r}")

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Close the port, then each connection after one more answer, or when it has been idle for LINGER_SECONDS."""
        now, drain_seconds = asyncio.get_running_loop().time, self.config.timeout_graceful_shutdown or 0
        end, linger_end = now() + drain_seconds, now() + min(LINGER_SECONDS, drain_seconds)
        while select(sockets or [], [], [], 0)[0] and now() < linger_end:  # closing resets whom it has not let in yet
            await asyncio.sleep(0.001)
        self._announce_end()
        while self.server_state.connections and now() < linger_end:
            await asyncio.sleep(0.01)
        self.config.timeout_graceful_shutdown = max(0, end - now())  # type: ignore[assignment]
        await super().shutdown(sockets)

    def _announce_end(self) -> None:
        for server in self.servers:
            server.close()
        self.server_state.default_headers = [*self.server_state.default_headers, CLOSE_HEADER]
        for connection in self.server_state.connections:
            connection.announce_end()  # type: ignore[union-attr]
