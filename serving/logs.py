"""What the server tells on stderr: lines for people, or one JSON object a line for machines."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

from client.console import note

Tell = Callable[[str], None]
"""Takes a line for the operator, as a Log does."""
Level = Literal["info", "debug"]
"""How much is told: what happens to the server and its models, or every request too."""
Format = Literal["text", "json"]
"""For whom it is told: people, or machines."""


class Log:
    """Called with a line, writes it; a line that begins with "error: " or "warning: " has that level.

    One process of several puts its number before each line, or into each object.
    """

    def __init__(self, level: Level = "info", form: Format = "text", process: int | None = None) -> None:
        self.debugs = level == "debug"
        self._level, self._form, self._process = level, form, process

    def of(self, process: int) -> "Log":
        """Give the log of one process of several."""
        return Log(self._level, self._form, process)

    def __call__(self, message: str) -> None:
        """Tell what happened."""
        if self._form == "text":
            self._note(message)
            return
        level, _, rest = message.partition(": ")
        known = level in ("error", "warning")
        self._write(level if known else "info", rest if known else message)

    def request(self, entrypoint: str, method: str, **facts: Any) -> None:
        """Tell of a request that was answered; at level debug only."""
        if not self.debugs:
            return
        if self._form == "json":
            self._write("debug", "request", entrypoint=entrypoint, method=method, **facts)
        else:
            told = " ".join(f"{name}={value}" for name, value in facts.items() if value is not None)
            told = told.replace("\n", "\ufffd")  # in a name that the caller has chosen
            self._note(f"debug: {entrypoint} {method} {told}")

    def _write(self, level: str, message: str, **facts: Any) -> None:
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        process = {} if self._process is None else {"process": self._process}
        note(json.dumps({"time": time, "level": level, "message": message, **process, **facts}))

    def _note(self, message: str) -> None:
        """Write it, with what follows its first line indented: a name with a newline must not look like an event."""
        message = message.replace("\n", "\n  ")
        note(message if self._process is None else f"process {self._process}: {message}")
