"""A request checked against a signature, in TensorFlow Serving's order and with its texts.

Sources: tensorflow_serving/servables/tensorflow/predict_util.cc and tensorflow/cc/saved_model/util.cc. Only the shape
check is ours: TensorFlow Serving leaves shapes to the model's first operation, tf.ensure_shape in our exports.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from client.contract import IMAGES, SERVING_SIGNATURE
from client.proto.tensor_pb2 import DataType, SignatureDef, TensorInfo, TensorProto
from client.tensors import READABLE, Array, type_name, unpack
from serving.errors import ServingError, invalid

Signatures = Mapping[str, SignatureDef]
UNREAD = frozenset(DataType.values()) - READABLE - {DataType.DT_INVALID}
"""Types that TensorFlow has and our models do not."""


class Input(NamedTuple):
    """A decoded tensor and its type in the request."""

    dtype: int
    array: Array


class Wanted(NamedTuple):
    """What an input must be: its name in the graph, type, and sizes, -1 for any; None when any rank will do."""

    name: str
    dtype: int
    sizes: list[int] | None


class Signature:
    """A SignatureDef as requests are checked against it, read once: each look into a message makes objects anew."""

    def __init__(self, definition: SignatureDef) -> None:
        self.inputs = {alias: _wanted(info) for alias, info in sorted(definition.inputs.items())}
        self.outputs = list(definition.outputs)
        self.defaults = dict(definition.defaults)


def _wanted(info: TensorInfo) -> Wanted:
    shape = info.tensor_shape
    return Wanted(info.name, info.dtype, None if shape.unknown_rank else [dim.size for dim in shape.dim])


def find(signatures: Mapping[str, Signature], name: str) -> tuple[str, Signature]:
    """Resolve a signature's name, which is `serving_default` when empty."""
    name = name or SERVING_SIGNATURE
    if name not in signatures:
        raise ServingError("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
    return name, signatures[name]


def decode_inputs(signature: Signature, tensors: Mapping[str, TensorProto]) -> dict[str, Input]:
    """Decode a request's tensors and the defaults of those that it leaves out; `check_inputs` comes after the outputs.

    Raises INVALID_ARGUMENT for a wrong number, a missing or stray name, and a tensor that is none.
    """
    _check_count(signature, tensors)
    inputs = {}
    for alias, wanted in signature.inputs.items():
        tensor = tensors[alias] if alias in tensors else _default(signature, alias, tensors)
        inputs[alias] = _decode(alias, wanted, tensor)
    if not all(alias in inputs for alias in tensors):
        raise invalid(
            f"Inputs contains invalid name. Used request inputs: {','.join(sorted(set(tensors) & set(inputs)))}, "
            f"request input: {','.join(sorted(tensors))}"
        )
    return inputs


def _default(signature: Signature, alias: str, tensors: Mapping[str, TensorProto]) -> TensorProto:
    if alias not in signature.defaults:
        raise invalid(
            f"Signature input alias: {alias}(feed name: {signature.inputs[alias].name}) not found in request and no "
            f"default value provided. Inputs expected to be in the request {_names(tensors)}, or default input alias "
            f"set: {','.join(sorted(signature.defaults))}"
        )
    return signature.defaults[alias]


def check_inputs(signature: Signature, inputs: Mapping[str, Input]) -> dict[str, Array]:
    """Give the arrays. Raises INVALID_ARGUMENT for a type or shape that the signature does not want as it is."""
    for position, (alias, given) in enumerate(inputs.items()):
        if given.dtype != (wanted := signature.inputs[alias].dtype):
            raise invalid(f"Expects arg[{position}] to be {type_name(wanted)} but {type_name(given.dtype)} is provided")
    for alias, given in inputs.items():
        _check_shape(alias, signature.inputs[alias].sizes, given.array.shape)
    return {alias: given.array for alias, given in inputs.items()}


def select_outputs(signature: Signature, output_filter: Iterable[str]) -> list[str]:
    """Give the outputs to compute: those of the filter, or all when it is empty."""
    selected: list[str] = []
    for alias in output_filter:
        if alias not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {_names(signature.outputs)}."
            )
        if alias in selected:
            raise invalid(f"duplicate output tensor alias: {alias}")
        selected.append(alias)
    return selected or signature.outputs


def _names(aliases: Iterable[str]) -> str:
    return "{" + ",".join(sorted(aliases)) + "}"


def _check_count(signature: Signature, tensors: Mapping[str, TensorProto]) -> None:
    if len(tensors) > len(signature.inputs) or (len(tensors) < len(signature.inputs) and not signature.defaults):
        given, wanted = set(tensors), set(signature.inputs)
        raise invalid(
            f"input size does not match signature: {len(given)}!={len(wanted)} "
            f"len({_names(given)}) != len({_names(wanted)}). "
            f"Sent extra: {_names(given - wanted)}. Missing but required: {_names(wanted - given)}."
        )


def _decode(alias: str, wanted: Wanted, tensor: TensorProto) -> Input:
    if tensor.dtype in UNREAD and tensor.dtype != wanted.dtype:
        return Input(tensor.dtype, np.empty(0))  # a valid tensor, refused for its type later
    try:
        return Input(tensor.dtype, unpack(tensor))
    except ValueError:
        raise invalid(f"tensor parsing error: {alias}") from None


def _check_shape(alias: str, sizes: list[int] | None, shape: tuple[int, ...]) -> None:
    if sizes is not None and not _fits(shape, sizes):
        wanted = ",".join("?" if size < 0 else str(size) for size in sizes)
        raise invalid(
            f"Shape of tensor {alias} [{','.join(map(str, shape))}] is not compatible with expected shape [{wanted}]."
        )
    if alias == IMAGES and shape[:1] == (0,):
        raise invalid(f"Tensor {alias} holds no image: send at least one.")


def _fits(shape: tuple[int, ...], sizes: list[int]) -> bool:
    return len(sizes) == len(shape) and all(want in (-1, have) for want, have in zip(sizes, shape, strict=True))
