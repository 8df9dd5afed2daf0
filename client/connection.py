"""What Client and AsyncClient have in common: the arguments, the channel, and everything that does not wait."""

from typing import Any, ClassVar

import numpy as np

from client import contract
from client.batches import BATCH
from client.channel import File, Security, connect, full_address
from client.errors import UsageError
from client.mnist import Pixels
from client.patience import Budget, positive
from client.prepare import Picture, prepare
from client.questions import Peer

IN_FLIGHT = 3
"""Requests of a stream at a time: of large ones the embedded server on one core refuses the fourth, and TensorFlow
Serving the fifth."""


class Connection:
    """A model at a server, and the channel to it. `_api` is grpc or grpc.aio."""

    _api: ClassVar[Any]

    def __init__(
        self,
        server: str = contract.DEFAULT_SERVER,
        *,
        timeout: float = 5.0,
        model: str = contract.MODEL,
        version: int | None = None,
        batch: int = BATCH,
        tls: bool = False,
        ca: File | None = None,
        cert: File | None = None,
        key: File | None = None,
        token: str | None = None,
        channel: Any = None,
    ) -> None:
        self.server, self.timeout, self.model, self.version = full_address(server), positive(timeout), model, version
        if not isinstance(batch, int | np.integer) or batch < 1:
            raise UsageError(f"batch {batch!r}: give a number of images above 0")
        self._batch = batch
        self._peer = Peer(self.server, model, version)
        self._owns_channel = channel is None
        if channel is not None and any((tls, ca, cert, key, token)):
            raise UsageError("a channel of your own is as safe as you made it: leave out tls, ca, cert, key and token")
        self._channel = channel or self._connect(Security(tls, ca, cert, key, token))
        self._checked = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.server!r}, model={self.model!r}, version={self.version})"

    @staticmethod
    def preprocess(picture: Picture) -> Pixels:
        """Give what the network sees of a picture, uint8 [28, 28]. Raises InvalidImage."""
        return prepare(picture).pixels

    def _connect(self, security: Security) -> Any:
        return connect(self._api, self.server, security)

    def _budget(self, patience: float = 0, timeout: float | None = None) -> Budget:
        return Budget(timeout or self.timeout, patience)
