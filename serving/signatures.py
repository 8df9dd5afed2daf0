"""A request checked against a signature, in TensorFlow Serving's order and with its texts.

Sources: tensorflow_serving/servables/tensorflow/predict_util.cc and tensorflow/cc/saved_model/util.cc. Only the shape
check is ours: TensorFlow Serving leaves shapes to the model's first operation, tf.ensure_shape in our exports.
"""

from collections.abc import Iterable, Mapping

from client.contract import IMAGES, SERVING_SIGNATURE
from client.proto.tensor_pb2 import DataType, SignatureDef, TensorInfo, TensorProto, TensorShapeProto
from client.tensors import Array, unpack
from serving.errors import ServingError, invalid

Signatures = Mapping[str, SignatureDef]


def find(signatures: Signatures, name: str) -> tuple[str, SignatureDef]:
    """Resolve a signature's name, which is `serving_default` when empty."""
    name = name or SERVING_SIGNATURE
    if name not in signatures:
        raise ServingError("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
    return name, signatures[name]


def decode_inputs(signature: SignatureDef, tensors: Mapping[str, TensorProto]) -> dict[str, Array]:
    """Decode a request's tensors; raises INVALID_ARGUMENT for any that the signature does not want as it is."""
    _check_count(signature, tensors)
    expected = sorted(signature.inputs.items())
    for alias, info in expected:
        if alias not in tensors:
            raise invalid(
                f"Signature input alias: {alias}(feed name: {info.name}) not found in request and no default value "
                f"provided. Inputs expected to be in the request {_names(tensors)}, or default input alias set: "
            )
    inputs = {alias: _decode(position, alias, info, tensors[alias]) for position, (alias, info) in enumerate(expected)}
    for alias, info in expected:
        _check_shape(alias, info.tensor_shape, inputs[alias].shape)
    return inputs


def select_outputs(signature: SignatureDef, output_filter: Iterable[str]) -> list[str]:
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
    return selected or list(signature.outputs)


def _names(aliases: Iterable[str]) -> str:
    return "{" + ",".join(sorted(aliases)) + "}"


def _check_count(signature: SignatureDef, tensors: Mapping[str, TensorProto]) -> None:
    given, wanted = set(tensors), set(signature.inputs)
    if len(given) != len(wanted):
        raise invalid(
            f"input size does not match signature: {len(given)}!={len(wanted)} "
            f"len({_names(given)}) != len({_names(wanted)}). "
            f"Sent extra: {_names(given - wanted)}. Missing but required: {_names(wanted - given)}."
        )


def _decode(position: int, alias: str, info: TensorInfo, tensor: TensorProto) -> Array:
    # Before decoding, so that a valid tensor of a type that we do not decode (half) gets the right text too.
    if tensor.dtype != info.dtype and tensor.dtype in DataType.values() and tensor.dtype != DataType.DT_INVALID:
        raise invalid(
            f"Expects arg[{position}] to be {type_name(info.dtype)} but {type_name(tensor.dtype)} is provided"
        )
    try:
        return unpack(tensor)
    except ValueError:
        raise invalid(f"tensor parsing error: {alias}") from None


def type_name(dtype: int) -> str:
    """Give TensorFlow's name of a type, such as `uint8`."""
    return DataType.Name(dtype).removeprefix("DT_").lower()


def _check_shape(alias: str, expected: TensorShapeProto, shape: tuple[int, ...]) -> None:
    sizes = [dim.size for dim in expected.dim]
    fits = len(sizes) == len(shape) and all(want in (-1, have) for want, have in zip(sizes, shape, strict=True))
    if not fits and not expected.unknown_rank:
        wanted = ",".join("?" if size < 0 else str(size) for size in sizes)
        raise invalid(
            f"Shape of tensor {alias} [{','.join(map(str, shape))}] is not compatible with expected shape [{wanted}]."
        )
    if alias == IMAGES and shape[:1] == (0,):
        raise invalid(f"Tensor {alias} holds no image: send at least one.")
