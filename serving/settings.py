"""How to serve: what the options of `digits serve` come to."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from client.errors import DigitsError
from serving.limits import Limits
from serving.logs import Log


class TlsFiles(NamedTuple):
    """PEM files: a certificate chain, its key, and the CA of the clients that are let in, if not all are."""

    cert: Path
    key: Path
    client_ca: Path | None

    def describe(self) -> str:
        """Say how a protocol is spoken, behind its name."""
        return " over mutual TLS" if self.client_ca else " over TLS"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The model root, where to listen (port 0: any free one; no REST without one), times in seconds, and limits.

    A gRPC connection takes new calls for `connection_seconds`; None: as long as it lives.

    With a `config` its models are served instead of those under the root; with a `model_name` only that one is. The
    `process` is which of several on the same ports this one is (from 1); None when it is the only one.
    """

    models: Path
    config: Path | None
    model_name: str | None
    host: str
    port: int
    rest_port: int | None
    rest_timeout_seconds: float
    poll_seconds: float
    drain_seconds: float
    connection_seconds: float | None
    limits: Limits
    tls: TlsFiles | None
    log: Log
    process: int | None = None

    def address(self, port: int) -> str:
        """Give a port of ours as one writes it."""
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"


def cannot_listen(address: str, option: str) -> DigitsError:
    """Make the error for an address that cannot be had; the option chooses its port."""
    return DigitsError(
        f"cannot listen on {address}: the port is in use or the address is not this machine's. "
        f"Choose another with {option} (0: any free one) or --host."
    )
