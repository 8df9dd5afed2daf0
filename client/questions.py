"""What a client asks of a model: each request together with how its answer is read. Nothing is sent here.

Client and AsyncClient share this, so that they differ in how they wait and in nothing else.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from google.protobuf.message import DecodeError

from client import answers, contract
from client.answers import Benchmark, Prediction, VersionStatus
from client.errors import ContractMismatch, UsageError
from client.mnist import Pixels
from client.proto import serving_pb2 as messages
from client.tensors import Array, pack_content

PREDICT = f"/{contract.PREDICTION_SERVICE}/Predict"
METADATA = f"/{contract.PREDICTION_SERVICE}/GetModelMetadata"
STATUS = f"/{contract.MODEL_SERVICE}/GetModelStatus"
RESPONSES: dict[str, Any] = {
    PREDICT: messages.PredictResponse,
    METADATA: messages.GetModelMetadataResponse,
    STATUS: messages.GetModelStatusResponse,
}
ROWS = 16
"""Rows of the results table a request: the nine rows of ours come in one."""
MOST_ROWS = 1024
"""Ends at a server whose table has no end."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Question(Generic[Answer]):
    """A request of a method; `read` decodes the response and raises ContractMismatch when it has another form."""

    method: str
    request: Any
    read: Callable[[Any], Answer]

    @property
    def version(self) -> int | None:
        """The version that is asked, None for the newest."""
        spec = self.request.model_spec
        return spec.version.value if spec.HasField("version") else None


@dataclass(frozen=True)
class Peer:
    """A model at a server, as requests and error messages name them; no version is the newest.

    Raises UsageError for a model or version that no request can hold.
    """

    server: str
    model: str
    version: int | None = None

    def __post_init__(self) -> None:
        if not self.model:
            raise UsageError("model empty: give a name, for example digits")
        self._spec()

    def predict(self, images: Sequence[Pixels]) -> Question[list[Prediction]]:
        """Ask what the images show."""
        question = self._predict_request(contract.SERVING_SIGNATURE, contract.IMAGES, np.stack(images))
        return self._question(PREDICT, question, lambda response: answers.read_predictions(response, len(images)))

    def rows(self, start: int, version: int | None = None) -> Question[list[Benchmark]]:
        """Ask for ROWS rows of a version's results table; fewer come at its end."""
        rows = np.arange(start, start + ROWS, dtype=np.int32)
        request = self._predict_request(contract.BENCHMARK_SIGNATURE, contract.ROW, rows, version)
        return self._question(PREDICT, request, lambda response: list(answers.read_benchmark(response, ROWS)))

    def status(self) -> Question[list[VersionStatus]]:
        """Ask for the state of each version."""
        request = messages.GetModelStatusRequest(model_spec=self._spec())
        return self._question(STATUS, request, answers.read_status)

    def signature(self) -> Question[None]:
        """Ask whether the model keeps our contract; reading the answer raises ContractMismatch with the difference."""
        request = messages.GetModelMetadataRequest(model_spec=self._spec(), metadata_field=["signature_def"])
        return self._question(METADATA, request, _check)

    def _question(self, method: str, request: Any, read: Callable[[Any], Answer]) -> Question[Answer]:
        def checked(response: Any) -> Answer:
            with self._readable():
                return read(response)

        return Question(method, request, checked)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, DecodeError) as error:
            raise ContractMismatch(
                f"{self.model} at {self.server} is not a digit model: {error}. Name another with --model or --server",
                "FAILED_PRECONDITION",
            ) from error

    def _predict_request(
        self, signature: str, name: str, value: Array, version: int | None = None
    ) -> messages.PredictRequest:
        return messages.PredictRequest(model_spec=self._spec(signature, version), inputs={name: pack_content(value)})

    def _spec(self, signature: str = "", version: int | None = None) -> messages.ModelSpec:
        wanted = self.version if version is None else version
        try:
            spec = messages.ModelSpec(name=self.model, signature_name=signature)
            if wanted is not None:
                spec.version.value = wanted
        except (TypeError, ValueError) as error:
            name = self.model if wanted is None else f"{self.model} version {wanted!r}"
            raise UsageError(f"model {name}: give a name in UTF-8, and as version a number below 2⁶³") from error
        return spec


def _check(response: messages.GetModelMetadataResponse) -> None:
    if differences := answers.contract_differences(response):
        raise ValueError("; ".join(differences))
