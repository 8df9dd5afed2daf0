"""What the server tells on stderr: lines for people, or one JSON object a line for machines."""

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from client.console import note


class Level(StrEnum):
    """How much is told: what happens to the server and its models, or every request too."""

    INFO = "info"
    DEBUG = "debug"


class Format(StrEnum):
    """For whom it is told."""

    TEXT = "text"
    JSON = "json"


class Log:
    """Called with a line, writes it; a line that begins with "error: " or "warning: " has that level."""

    def __init__(self, level: Level = Level.INFO, form: Format = Format.TEXT) -> None:
        self.debugs = level is Level.DEBUG
        self._form = form

    def __call__(self, message: str) -> None:
        """Tell what happened."""
        if self._form is Format.TEXT:
            note(message)
            return
        level, _, rest = message.partition(": ")
        known = level in ("error", "warning")
        self._write(level if known else "info", rest if known else message)

    def request(self, entrypoint: str, method: str, **facts: Any) -> None:
        """Tell of a request that was answered; at level debug only."""
        if not self.debugs:
            return
        if self._form is Format.JSON:
            self._write("debug", "request", entrypoint=entrypoint, method=method, **facts)
        else:
            told = " ".join(f"{name}={value}" for name, value in facts.items() if value is not None)
            note(f"debug: {entrypoint} {method} {told}")

    def _write(self, level: str, message: str, **facts: Any) -> None:
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        note(json.dumps({"time": time, "level": level, "message": message, **facts}))
