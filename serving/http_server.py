"""Uvicorn on a thread of its own: an ASGI application over HTTP/1.1, beside the gRPC server in the same process."""

import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

from serving.logs import Tell

if TYPE_CHECKING:
    from uvicorn import Server

MAX_CONNECTIONS = 512
"""More are answered 503 at once; half of the 1,024 files that a process may often have open."""
IDLE_SECONDS = 75
"""How long a connection is kept without a request."""


class HttpServer:
    """Has the address at once, answers between `start` and `stop`; with `shared` other processes may have it too.

    Raises OSError when the address cannot be used.
    """

    def __init__(
        self,
        app: Any,
        host: str,
        port: int,
        log: Tell,
        context: ssl.SSLContext | None = None,
        *,
        shared: bool = False,
        max_connections: int = MAX_CONNECTIONS,
        idle_seconds: int = IDLE_SECONDS,
    ) -> None:
        self._app, self._log, self._context = app, log, context
        self._max_connections, self._idle_seconds = max_connections, idle_seconds
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # With the protocol named, asyncio turns Nagle's delay off; without, each answer takes 40 ms.
        self._socket = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        # A restart need not wait for old connections.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind((host, port))
        self.port: int = self._socket.getsockname()[1]
        self._server: Server | None = None

    def start(self) -> None:
        """Listen, and answer.

        Raises OSError when another server, bound as early, listens there already, or without file descriptors to begin.
        """
        from uvicorn import Config

        from serving.http_connection import Connection, DrainingServer

        context = self._context
        config = Config(
            self._app,
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",  # the application tells what there is to tell
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=self._max_connections + 1,
            timeout_keep_alive=self._idle_seconds,
            ssl_context_factory=(lambda config, default: context) if context else None,
        )
        self._socket.listen()
        server = DrainingServer(config, self._log)
        self._thread = threading.Thread(target=server.run, args=([self._socket],), name="http", daemon=True)
        self._thread.start()
        server.began.result()
        self._server = server  # from here on there is something to stop

    def stop(self, drain_seconds: float) -> None:
        """Answer what has been sent, for so long at most, and close."""
        if self._server:
            self._server.config.timeout_graceful_shutdown = drain_seconds  # type: ignore[assignment]
            self._server.should_exit = True
            self._thread.join()
        self._socket.close()
