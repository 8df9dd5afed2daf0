"""The JSON bodies of REST's predict: tensors by row (`instances`) or by column (`inputs`).

Forms, texts and their order are TensorFlow Serving's (tensorflow_serving/util/json_tensor.cc and
model_servers/http_rest_api_util.cc).
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from client.contract import SERVING_SIGNATURE
from client.proto.serving_pb2 import PredictRequest
from client.proto.tensor_pb2 import TensorInfo, TensorProto
from client.tensors import Array, pack_content, pack_values
from serving.errors import ServingError, invalid
from serving.json_tensors import is_base64, misformatted, quote, to_array, to_json
from serving.signatures import Signatures

SIGNATURE_NAME, INSTANCES, INPUTS = "signature_name", "instances", "inputs"
PARSE_ERRORS = {
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
}
"""Python's words → RapidJSON's, which TensorFlow Serving passes on; everything else is "Invalid value."."""
ONLY_ONE = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
SEVERAL = "multiple input tensors required as per tensorinfo_map"


def read_document(body: bytes) -> dict[str, Any]:
    """Parse a body's JSON object, whatever follows it. Raises INVALID_ARGUMENT."""
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        text = body.decode("utf-8-sig")
        document, _ = json.JSONDecoder().raw_decode(text, len(text) - len(text.lstrip(" \t\r\n")))
    except UnicodeDecodeError as error:
        raise invalid(f"JSON Parse error: Invalid encoding in string. at offset: {error.start}") from None
    except json.JSONDecodeError as error:
        reason, offset = PARSE_ERRORS.get(error.msg, "Invalid value."), len(text[: error.pos].encode())
        raise invalid(f"JSON Parse error: {reason} at offset: {offset}") from None
    except ValueError:
        raise invalid("JSON Parse error: Number too big to be stored in double.") from None
    if not isinstance(document, dict):
        raise misformatted(document, "Is not object")
    return document


def read_signature_name(document: Mapping[str, Any]) -> str:
    """Give the signature that is asked for, empty for the default one. Raises INVALID_ARGUMENT."""
    name = document.get(SIGNATURE_NAME, "")
    if not isinstance(name, str):
        raise misformatted(document, "not formatted correctly. 'signature_name' key must be a string value.")
    return name


def count_rows(document: Mapping[str, Any]) -> int:
    """Give how many rows a body holds, before anything of it is checked: converting them costs much memory."""
    rows, columns = document.get(INSTANCES), document.get(INPUTS)
    values = [rows, columns, *(columns.values() if isinstance(columns, dict) else ())]
    return max(len(value) if isinstance(value, list) else 0 for value in values)


def complete(request: PredictRequest, document: Mapping[str, Any], signatures: Signatures) -> None:
    """Fill in a request's tensors from the body, when its signature is known. Raises ServingError."""
    name = request.model_spec.signature_name
    if (name or SERVING_SIGNATURE) not in signatures:
        raise invalid(f'Serving signature name: "{name}" not found in signature def')
    inputs = signatures[name or SERVING_SIGNATURE].inputs
    if not inputs:
        raise invalid(f"Failed to get input map for signature: {name or 'DEFAULT'}")
    for alias, tensor in read_inputs(document, inputs).items():
        request.inputs[alias].CopyFrom(tensor)


def read_inputs(document: Mapping[str, Any], inputs: Mapping[str, TensorInfo]) -> dict[str, TensorProto]:
    """Read the tensors of a signature that has inputs. Raises ServingError."""
    if INSTANCES in document and INPUTS in document:
        raise misformatted(document, ONLY_ONE)
    if INPUTS in document:
        return {name: _pack(array) for name, array in _columns(document[INPUTS], inputs).items()}
    if INSTANCES not in document:
        raise invalid("Missing 'inputs' or 'instances' key")
    if not isinstance(document[INSTANCES], list):
        raise misformatted(document, "Excepting 'instances' to be an list/array")
    if not document[INSTANCES]:
        raise misformatted(document, "No values in 'instances' array")
    return {name: _pack(np.stack(arrays)) for name, arrays in _rows(document[INSTANCES], inputs).items()}


def _pack(array: Array) -> TensorProto:
    return pack_values(array) if array.dtype == object else pack_content(array)


def _columns(value: Any, inputs: Mapping[str, TensorInfo]) -> dict[str, Array]:
    if not _is_named(value):
        if len(inputs) > 1:
            raise invalid(f"inputs is a plain value/list, but expecting an object as {SEVERAL}")
        return {name: to_array(value, info.dtype) for name, info in inputs.items()}
    for name in inputs:
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: to_array(value[name], info.dtype) for name, info in inputs.items()}


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)


def _rows(instances: list[Any], inputs: Mapping[str, TensorInfo]) -> dict[str, list[Array]]:
    if not isinstance(instances[0], dict) and len(inputs) > 1:
        raise invalid(f"instances is a plain list, but expecting list of objects as {SEVERAL}")
    named = _is_named(instances[0])
    first = next(iter(inputs))
    rows: dict[str, list[Array]] = {name: [] for name in inputs}
    for position, instance in enumerate(instances):
        if _is_named(instance) != named:
            what = "object but got list" if named else "value/list but got object"
            raise invalid(f"Expecting {what} at item {position} of input list")
        for name, value in (instance if named else {first: instance}).items():
            with _located(f"{position} key: {name}" if named else str(position)):
                array = _row(name, value, inputs, rows.get(name))
            rows[name].append(array)
        if named and instance.keys() != inputs.keys():
            raise invalid(
                f"Failed to process element: {position} of 'instances' list. JSON object: {quote(instance)} keys must "
                f"be equal to: {','.join(sorted(inputs))}"
            )
    return rows


def _row(name: str, value: Any, inputs: Mapping[str, TensorInfo], before: list[Array] | None) -> Array:
    """Convert an instance's tensor, which must have the shape of those before it."""
    if before is None:
        raise invalid(f"JSON object: does not have named input: {name}")
    array = to_array(value, inputs[name].dtype)
    first = before[0] if before else array
    if array.size != first.size:
        raise invalid(f"Expecting tensor size: {first.size} but got: {array.size}")
    if array.shape != first.shape:
        shapes = [",".join(map(str, shape)) for shape in (first.shape, array.shape)]
        raise invalid(f"Expecting shape [{shapes[0]}] but got: [{shapes[1]}]")
    return array


@contextlib.contextmanager
def _located(element: str) -> Iterator[None]:
    try:
        yield
    except ServingError as error:
        raise invalid(
            f"Failed to process element: {element} of 'instances' list. Error: {error.status}: {error}"
        ) from None


def write_outputs(document: Mapping[str, Any], outputs: Mapping[str, TensorProto]) -> dict[str, Any]:
    """Give the answer in the form in which the request came. Raises INVALID_ARGUMENT for what has no rows."""
    if INSTANCES in document:
        _check_rows(outputs)
    columns = {name: to_json(name, tensor) for name, tensor in sorted(outputs.items())}
    single = next(iter(columns.values())) if len(columns) == 1 else None
    if INPUTS in document:
        return {"outputs": columns if single is None else single}
    if single is not None:
        return {"predictions": single}
    return {"predictions": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]}


def _check_rows(outputs: Mapping[str, TensorProto]) -> None:
    count: int | None = None
    for name, tensor in sorted(outputs.items()):
        shape = [dim.size for dim in tensor.tensor_shape.dim]
        if not shape:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if count is not None and shape[0] != count:
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {shape[0]} expecting: {count}")
        count = shape[0]
