"""Tensors in JSON, by TensorFlow Serving's rules and with its texts (tensorflow_serving/util/json_tensor.cc).

Lists are converted as a whole, which is fast; only where something does not fit are they walked value by value, to name
the first that does not.
"""

import base64
import binascii
import json
import math
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from client.proto.tensor_pb2 import DataType, TensorProto
from client.tensors import Array, type_name, unpack
from serving.errors import ServingError, invalid

LONGEST_QUOTE = 1024
"""Characters of a wrong value that an error repeats; TensorFlow Serving repeats it whole, however long."""
MOST_DIMENSIONS = 32


@dataclass(frozen=True)
class Rule:
    """What a type takes: kinds of JSON values and the range of whole numbers; the array types to read into and give."""

    kinds: frozenset[type]
    low: int
    high: int
    wide: str
    narrow: str


_NUMBER, _WHOLE = frozenset({int, float}), frozenset({int})
_INT32 = (_WHOLE, -(2**31), 2**31 - 1, "i8")
RULES: dict[int, Rule] = {
    DataType.DT_FLOAT: Rule(_NUMBER, 1 - 2**24, 2**24 - 1, "f8", "f4"),
    DataType.DT_DOUBLE: Rule(_NUMBER, 1 - 2**53, 2**53 - 1, "f8", "f8"),
    DataType.DT_INT32: Rule(*_INT32, "i4"),
    DataType.DT_INT16: Rule(*_INT32, "i2"),
    DataType.DT_INT8: Rule(*_INT32, "i1"),
    DataType.DT_UINT8: Rule(*_INT32, "u1"),  # so 300 is taken and becomes 44, as in TensorFlow Serving
    DataType.DT_INT64: Rule(_WHOLE, -(2**63), 2**63 - 1, "i8", "i8"),
    DataType.DT_UINT32: Rule(_WHOLE, 0, 2**32 - 1, "i8", "u4"),
    DataType.DT_UINT64: Rule(_WHOLE, 0, 2**64 - 1, "u8", "u8"),
    DataType.DT_BOOL: Rule(frozenset({bool}), 0, 1, "?", "?"),
    DataType.DT_STRING: Rule(frozenset({str}), 0, 0, "O", "O"),
}


def to_array(value: Any, dtype: int) -> Array:
    """Convert a JSON value, or lists of values of any depth, to an array of a type.

    Raises INVALID_ARGUMENT for what a tensor cannot hold, UNIMPLEMENTED for types that have no form in JSON.
    """
    rule = RULES.get(dtype)
    if rule is None:
        raise ServingError("UNIMPLEMENTED", f"Conversion of JSON Value: {quote(value)} to type: {type_name(dtype)}")
    shape = _shape(value)
    flat = _flatten(value, shape)
    if flat is None or not _fits(flat, rule):
        _explain(value, dtype, shape)
    assert flat is not None  # _explain has raised
    if rule.wide == "O":
        flat = [one.encode() if isinstance(one, str) else _decode_base64(one) for one in flat]
    return np.array(flat, rule.wide).astype(rule.narrow).reshape(shape)


def _shape(value: Any) -> list[int]:
    """Give the shape that the first elements tell."""
    shape: list[int] = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    if len(shape) > MOST_DIMENSIONS:
        raise invalid(f"Encountered lists {len(shape)} deep, expected at most {MOST_DIMENSIONS}")
    return shape


def _flatten(value: Any, shape: list[int]) -> list[Any] | None:
    """Give the values in order, or nothing when the lists have not all the shape of the first ones."""
    flat = [value]
    for size in shape:
        if set(map(type, flat)) - {list} or set(map(len, flat)) - {size}:
            return None
        flat = list(chain.from_iterable(flat))
    return flat


def _fits(flat: list[Any], rule: Rule) -> bool:
    if set(map(type, flat)) - rule.kinds:
        return False
    return rule.wide == "O" or not flat or (rule.low <= min(flat) and max(flat) <= rule.high)


def _explain(value: Any, dtype: int, shape: list[int], level: int = 0) -> None:
    """Raise the error of the first value that a tensor cannot hold; there may be none, as for 1e9 as a float."""
    if not isinstance(value, list):
        if level != len(shape):
            raise misformatted(
                value, f"found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {len(shape)}"
            )
        _explain_one(value, dtype)
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for element in value:
        _explain(element, dtype, shape, level + 1)


def _explain_one(value: Any, dtype: int) -> None:
    rule = RULES[dtype]
    if isinstance(value, dict) and dtype == DataType.DT_STRING:
        _decode_base64(value)
    elif type(value) not in rule.kinds:
        raise _wrong_type(value, dtype)
    elif float in rule.kinds and not _is_lossless(value, rule):
        raise invalid(f"Cannot convert JSON value: {quote(value)} to {type_name(dtype)} without loss of precision.")
    elif rule.kinds == _WHOLE and not rule.low <= value <= rule.high:
        raise _wrong_type(value, dtype)


def _is_lossless(value: float, rule: Rule) -> bool:
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return rule.low <= value <= rule.high
    infinite = isinstance(value, float) and not math.isfinite(value)
    return infinite or abs(value) <= float(np.finfo(rule.narrow).max)


KINDS = {type(None): "Null", str: "String", int: "Number", float: "Number", list: "Array", dict: "Object"}
"""How RapidJSON calls them; true and false are kinds of their own there."""


def _wrong_type(value: Any, dtype: int) -> ServingError:
    kind = str(value) if isinstance(value, bool) else KINDS[type(value)]
    return misformatted(value, f"Type: {kind} is not of expected type: {type_name(dtype)}")


def misformatted(value: Any, reason: str) -> ServingError:
    """Make the error for a JSON value that is not what it should be."""
    return invalid(f"JSON Value: {quote(value)} {reason}")


def quote(value: Any) -> str:
    """Repeat a JSON value in an error, as TensorFlow Serving prints it, but not more of it than helps."""
    text = ""
    for piece in json.JSONEncoder(indent=4, ensure_ascii=False).iterencode(value):  # all of 8 MB would take 300
        text += piece
        if len(text) > LONGEST_QUOTE:
            return f"{text[:LONGEST_QUOTE]}..."
    return text


def is_base64(value: Any) -> bool:
    """Tell whether a JSON value is an object that stands for binary data."""
    return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def _decode_base64(value: dict[str, Any]) -> bytes:
    if not is_base64(value):
        raise misformatted(value, "not formatted correctly for base64 data")
    text = value["b64"]
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid("Unable to base64 decode") from None


def to_json(name: str, tensor: TensorProto) -> Any:
    """Convert a tensor to a JSON value. Strings of an output whose name ends in `_bytes` are wrapped as base64."""
    array = unpack(tensor)
    if array.dtype.kind not in "fO":
        return array.tolist()
    values = np.empty(array.size, object)
    if array.dtype.kind == "f":
        values[:] = _decimals(array.ravel())
    elif name.endswith("_bytes"):
        values[:] = [{"b64": base64.b64encode(value).decode()} for value in array.ravel()]
    else:
        values[:] = [value.decode(errors="replace") for value in array.ravel()]
    return values.reshape(array.shape).tolist()


def _decimals(array: Array) -> list[float]:
    """Give the numbers that TensorFlow Serving writes: six digits where they tell the number, else all that do."""
    digits = 9 if array.dtype == np.float32 else 17
    values = array.tolist()
    short = [float(f"{value:.6g}") for value in values]
    with np.errstate(over="ignore"):
        enough = (np.array(short).astype(array.dtype) == array).tolist()
    together = zip(short, enough, values, strict=True)
    return [brief if exact else float(f"{value:.{digits}g}") for brief, exact, value in together]
