"""Looks for what is published, each time on a thread of its own: a mount that hangs holds that one and no stop."""

import threading

from serving.catalog import HEAD_START, Catalog
from serving.health import Health

FIRST_LOAD_SECONDS = 30.0
"""How long the start waits for models; the ports then open all the same, and the slow ones follow."""


class Poller:
    """Polls a catalog, one round at a time, and says by the health service whether any version answers."""

    def __init__(self, catalog: Catalog, status: Health) -> None:
        self._catalog, self._status = catalog, status
        self._round = threading.Thread()  # none is under way

    def begin(self, patience_seconds: float = HEAD_START) -> threading.Thread:
        """Begin a round, unless the last one is still under way, and give the one that is."""
        if not self._round.is_alive():
            self._round = threading.Thread(target=self._poll, args=(patience_seconds,), name="poll", daemon=True)
            self._round.start()
        return self._round

    def _poll(self, patience_seconds: float) -> None:
        self._catalog.poll(patience_seconds)
        self._status.update(serving=bool(self._catalog.served()))
