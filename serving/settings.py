"""How to serve: what the options of `digits serve` come to."""

from dataclasses import dataclass
from pathlib import Path

from serving.limits import Limits
from serving.logs import Log
from serving.tls import Certificates


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The model root, where to listen (port 0: any free one; no REST without one), times in seconds, and limits.

    With a `config` its models are served instead of those under the root; with a `model_name` only that one is.
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
    limits: Limits
    certificates: Certificates | None
    log: Log

    def address(self, port: int) -> str:
        """Give a port of ours as one writes it."""
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"
