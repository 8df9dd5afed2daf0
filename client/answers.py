"""What a server's answers mean: predictions, rows of the results table, the state of a model, the contract."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from client import contract
from client.proto.serving_pb2 import (
    GetModelMetadataResponse,
    GetModelStatusResponse,
    ModelVersionStatus,
    PredictResponse,
    SignatureDefMap,
)
from client.proto.tensor_pb2 import TensorInfo
from client.tensors import Array, type_name, unpack

_TYPES = {
    contract.PROBABILITIES: "float",
    contract.DIGIT: "int64",
    **dict(zip(contract.BENCHMARK_FIELDS, ("string", "string", "float", "float", "bool"), strict=True)),
}


@dataclass(frozen=True)
class Prediction:
    """What the network makes of one image. `probabilities` holds ten numbers, one a digit, which sum to 1.

    `notes` tells what a person should know about the picture, for example "several digits?".
    """

    digit: int
    probability: float
    runner_up: int
    runner_up_probability: float
    probabilities: tuple[float, ...]
    model: str
    model_version: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    """A row of the results table that comes with the served version; measured on MNIST's last 5,000 test images."""

    model: str
    description: str
    loss: float
    accuracy: float
    served: bool


@dataclass(frozen=True)
class VersionStatus:
    """State of one version: START, LOADING, AVAILABLE, UNLOADING or END; `error` is empty unless it failed to load."""

    version: int
    state: str
    error: str


def read_predictions(response: PredictResponse, count: int) -> list[Prediction]:
    """Decode an answer of `serving_default` to `count` images. Raises ValueError when it has another form."""
    wanted = {contract.PROBABILITIES: (count, contract.CLASSES), contract.DIGIT: (count,)}
    outputs = _unpack(response, wanted)
    spec = response.model_spec
    model, version = spec.name, spec.version.value
    digits, probabilities = outputs[contract.DIGIT], outputs[contract.PROBABILITIES]
    if wrong := [digit for digit in digits.tolist() if not 0 <= digit < contract.CLASSES]:
        raise ValueError(f"{wrong[0]} is not a digit")
    others = probabilities.copy()
    others[np.arange(count), digits] = -1
    rows = zip(digits.tolist(), others.argmax(axis=1).tolist(), probabilities.tolist(), strict=True)
    return [
        Prediction(digit, row[digit], runner_up, row[runner_up], tuple(row), model, version)
        for digit, runner_up, row in rows
    ]


def read_benchmark(response: PredictResponse, count: int) -> Iterator[Benchmark]:
    """Decode an answer of `benchmark` to `count` rows, up to the table's end. Raises ValueError for another form."""
    outputs = _unpack(response, dict.fromkeys(contract.BENCHMARK_FIELDS, (count,)))
    columns = (outputs[field].tolist() for field in contract.BENCHMARK_FIELDS)
    for model, description, loss, accuracy, served in zip(*columns, strict=True):
        if not model:
            return
        yield Benchmark(model.decode(), description.decode(), loss, accuracy, served)


def _unpack(response: PredictResponse, wanted: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    missing = wanted.keys() - response.outputs.keys()
    if missing:
        raise ValueError(f"no output {', '.join(sorted(missing))}")
    outputs = {name: unpack(response.outputs[name]) for name in wanted}
    for name, shape in wanted.items():
        if (dtype := type_name(response.outputs[name].dtype)) != _TYPES[name]:
            raise ValueError(f"output {name} is {dtype} instead of {_TYPES[name]}")
        if outputs[name].shape != shape:
            raise ValueError(f"output {name} has shape {list(outputs[name].shape)} where {list(shape)} was asked for")
    return outputs


def read_status(response: GetModelStatusResponse) -> list[VersionStatus]:
    """Decode the versions of a model, the newest first."""
    return [
        VersionStatus(one.version, ModelVersionStatus.State.Name(one.state), one.status.error_message)
        for one in sorted(response.model_version_status, key=lambda one: -one.version)
    ]


INPUTS = {contract.IMAGES: f"uint8 [-1,{contract.IMAGE_SIZE},{contract.IMAGE_SIZE}]"}
OUTPUTS = {contract.PROBABILITIES: f"float [-1,{contract.CLASSES}]", contract.DIGIT: "int64 [-1]"}


def contract_differences(response: GetModelMetadataResponse) -> list[str]:
    """Compare a model's signature with the contract; each difference is a phrase, none means that it fits.

    Raises google.protobuf.message.DecodeError when the metadata is not a SignatureDefMap.
    """
    signatures = SignatureDefMap.FromString(response.metadata["signature_def"].value).signature_def
    if contract.SERVING_SIGNATURE not in signatures:
        return [f"no signature {contract.SERVING_SIGNATURE}"]
    signature = signatures[contract.SERVING_SIGNATURE]
    surplus = sorted(signature.inputs.keys() - INPUTS.keys() - signature.defaults.keys())
    return [
        *_differences("input", INPUTS, signature.inputs),
        *(f"wants a further input {name}" for name in surplus),
        *_differences("output", OUTPUTS, signature.outputs),
    ]


def _differences(kind: str, wanted: Mapping[str, str], found: Mapping[str, TensorInfo]) -> Iterator[str]:
    for name, form in wanted.items():
        if name not in found:
            yield f"no {kind} {name}"
        elif (actual := _form(found[name])) != form:
            yield f"{kind} {name} is {actual} instead of {form}"


def _form(info: TensorInfo) -> str:
    sizes = "unknown rank" if info.tensor_shape.unknown_rank else ",".join(str(d.size) for d in info.tensor_shape.dim)
    return f"{type_name(info.dtype)} [{sizes}]"
