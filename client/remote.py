"""The client of a digit server: TensorFlow Serving or the embedded server, which speak the same API."""

import contextlib
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeAlias

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from PIL import Image

from client import answers, contract
from client.answers import Benchmark, Prediction, VersionStatus
from client.calls import METADATA, PREDICT, STATUS, Call, Peer, open_channel
from client.errors import (
    ContractMismatch,
    DeadlineExceeded,
    InvalidImage,
    ModelNotFound,
    ServerError,
    ServerUnavailable,
    UsageError,
)
from client.image import Pixels, read_image, to_mnist
from client.proto import serving_pb2 as messages
from client.tensors import Array, pack_content
from client.tls import Tls

BATCH = 256
"""Images a request: 200 kB, far below gRPC's usual limit of 4 MiB, and enough to fill the engine."""
IN_FLIGHT = 4
"""Requests at a time; TensorFlow Serving on one CPU refuses the fifth."""
ROWS = 16
"""Rows of the results table a request: all six models come in one."""
MOST_ROWS = 1024
"""Ends at a server whose table has no end."""
POLL_SECONDS = 0.1

Picture: TypeAlias = str | os.PathLike[str] | Image.Image | Pixels
"""A file, a Pillow image, or a uint8 array [28, 28] that is used as it is."""


class Client:
    """Reads digits through a server. Threads may share one. Close it, or use it in a `with` block.

        with Client("127.0.0.1:8500") as client:
            [prediction] = client.classify(["seven.png"])

    `server` is HOST:PORT. `timeout` is the deadline of each request in seconds. `version` asks for one version instead
    of the newest. `tls` encrypts the way to the server. With a `channel` of your own, which stays yours to close,
    `server` is only its name in messages. Every method may raise a ServerError (client/errors.py), and never a
    `grpc.RpcError`.
    """

    def __init__(
        self,
        server: str = contract.DEFAULT_SERVER,
        *,
        timeout: float = 5.0,
        model: str = contract.MODEL,
        version: int | None = None,
        tls: Tls | None = None,
        channel: grpc.Channel | None = None,
    ) -> None:
        if "://" in server:
            raise UsageError(f"server {server}: give HOST:PORT without a scheme, for example 127.0.0.1:8500")
        if not timeout > 0:
            raise UsageError(f"timeout {timeout:g}: give a number of seconds above 0")
        self.server = server if ":" in server else f"{server}:{contract.GRPC_PORT}"
        self.timeout, self.model, self.version = timeout, model, version
        self._channel = channel or open_channel(self.server, tls)
        self._owns_channel = channel is None
        self._checked = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.server!r}, model={self.model!r}, version={self.version})"

    def close(self) -> None:
        """Close the connection. Closing again does no harm."""
        if self._owns_channel:
            self._channel.close()

    def classify(self, images: Iterable[Picture]) -> list[Prediction]:
        """Classify images, in their order. They are read while requests are under way; no images, no request.

        Raises InvalidImage at the first that is not an image.
        """
        arrays = self._arrays(images)
        batches = iter(lambda: list(islice(arrays, BATCH)), [])
        return [prediction for batch in self._predict(batches) for prediction in batch]

    def benchmark(self, version: int | None = None) -> list[Benchmark]:
        """Fetch the results table that comes with a version, by default the one that this client asks for.

        Raises ContractMismatch when the model was exported without one.
        """
        table: list[Benchmark] = []
        for start in range(0, MOST_ROWS, ROWS):
            rows = np.arange(start, start + ROWS, dtype=np.int32)
            response = self._send(contract.BENCHMARK_SIGNATURE, contract.ROW, rows, version).result()
            with self._readable():
                found = list(answers.read_benchmark(response, ROWS))
            table += found
            if len(found) < ROWS:
                break
        return table

    def status(self) -> list[VersionStatus]:
        """Tell the state of each version of the model that the server knows, the newest first."""
        request = messages.GetModelStatusRequest(model_spec=self._spec())
        return answers.read_status(self._call(STATUS, request).result())

    def wait_until_ready(self, timeout: float = 30.0) -> VersionStatus:
        """Wait until a version is AVAILABLE and give it. Raises the last failure after `timeout` seconds."""
        give_up = time.monotonic() + timeout
        while True:
            failure: ServerError = DeadlineExceeded(
                f"{self.model} at {self.server} is not ready after {timeout:g} s. Look into the server's log",
                "DEADLINE_EXCEEDED",
            )
            try:
                for version in self.status():
                    if version.state == "AVAILABLE":
                        return version
            except (ServerUnavailable, DeadlineExceeded, ModelNotFound) as error:
                failure = error
            if time.monotonic() > give_up:
                raise failure
            time.sleep(POLL_SECONDS)

    def _arrays(self, images: Iterable[Picture]) -> Iterator[Pixels]:
        """Prepare images. A wrong server shows at the first, not when a batch of photos has been read."""
        for image in images:
            array = to_array(image)
            self._check_contract()
            yield array

    def _predict(self, batches: Iterable[list[Array]]) -> Iterator[list[Prediction]]:
        """Keep a few requests under way and give their answers in order."""
        calls: deque[tuple[Call, int]] = deque()
        try:
            for batch in batches:
                if len(calls) == IN_FLIGHT:
                    yield self._receive(*calls.popleft())
                images = np.stack(batch)
                calls.append((self._send(contract.SERVING_SIGNATURE, contract.IMAGES, images), len(batch)))
            while calls:
                yield self._receive(*calls.popleft())
        finally:
            for call, _ in calls:
                call.cancel()

    def _receive(self, call: Call, count: int) -> list[Prediction]:
        response = call.result()
        with self._readable():
            return answers.read_predictions(response, count)

    def _check_contract(self) -> None:
        """Look once whether a digit model answers. Threads may do so twice, which is harmless."""
        if self._checked:
            return
        request = messages.GetModelMetadataRequest(model_spec=self._spec(), metadata_field=["signature_def"])
        response = self._call(METADATA, request).result()
        with self._readable():
            if differences := answers.contract_differences(response):
                raise ValueError("; ".join(differences))
        self._checked = True

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        """Turn an answer of another form than the contract's into ContractMismatch."""
        try:
            yield
        except (ValueError, DecodeError) as error:
            raise ContractMismatch(
                f"{self.model} at {self.server} is not a digit model: {error}. Name another with --model or --server",
                "FAILED_PRECONDITION",
            ) from error

    def _send(self, signature: str, name: str, value: Array, version: int | None = None) -> Call:
        request = messages.PredictRequest(model_spec=self._spec(signature, version), inputs={name: pack_content(value)})
        return self._call(PREDICT, request)

    def _spec(self, signature: str = "", version: int | None = None) -> messages.ModelSpec:
        spec = messages.ModelSpec(name=self.model, signature_name=signature)
        wanted = self.version if version is None else version
        if wanted is not None:
            spec.version.value = wanted
        return spec

    def _call(self, method: str, request: Any) -> Call:
        return Call(self._channel, method, request, Peer(self.server, self.model, self.timeout))


def to_array(image: Picture) -> Pixels:
    """Give what the network takes, uint8 [28, 28]. Raises InvalidImage."""
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.shape != (contract.IMAGE_SIZE, contract.IMAGE_SIZE):
            raise InvalidImage(f"an array of {image.dtype} {list(image.shape)}. Give uint8 [28, 28], 255 = ink")
        return image
    return to_mnist(image) if isinstance(image, Image.Image) else read_image(image)
