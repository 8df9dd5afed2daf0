"""NumPy arrays to and from TensorProto, by the rules of tensorflow/core/framework/tensor.cc."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.proto.tensor_pb2 import DataType, TensorProto

# dtype → (NumPy dtype, typed field of TensorProto). Half types are left out: nothing here speaks them.
_DTYPES: dict[DataType, tuple[np.dtype[Any], str]] = {
    DataType.DT_FLOAT: (np.dtype("<f4"), "float_val"),
    DataType.DT_DOUBLE: (np.dtype("<f8"), "double_val"),
    DataType.DT_INT32: (np.dtype("<i4"), "int_val"),
    DataType.DT_UINT8: (np.dtype("u1"), "int_val"),
    DataType.DT_INT16: (np.dtype("<i2"), "int_val"),
    DataType.DT_INT8: (np.dtype("i1"), "int_val"),
    DataType.DT_UINT16: (np.dtype("<u2"), "int_val"),
    DataType.DT_INT64: (np.dtype("<i8"), "int64_val"),
    DataType.DT_BOOL: (np.dtype("?"), "bool_val"),
    DataType.DT_UINT32: (np.dtype("<u4"), "uint32_val"),
    DataType.DT_UINT64: (np.dtype("<u8"), "uint64_val"),
    DataType.DT_STRING: (np.dtype("O"), "string_val"),
}
READABLE = frozenset(_DTYPES)
"""The types that `unpack` decodes."""
_DATA_TYPES = {dtype: number for number, (dtype, _) in _DTYPES.items()}

Array = NDArray[Any]


def data_type(array: Array) -> DataType:
    """Give TensorFlow's type of an array; text and byte arrays are DT_STRING. Raises ValueError for other dtypes."""
    kind = np.dtype("O") if array.dtype.kind in "SUO" else array.dtype
    if kind not in _DATA_TYPES:
        kind = kind.newbyteorder("<")
    if kind not in _DATA_TYPES:
        raise ValueError(f"no TensorFlow type for arrays of {array.dtype}")
    return _DATA_TYPES[kind]


def type_name(dtype: int) -> str:
    """Give TensorFlow's name of a type, such as `uint8`."""
    return DataType.Name(dtype).removeprefix("DT_").lower()


def _describe(array: Array, proto: TensorProto) -> None:
    proto.dtype = data_type(array)
    proto.tensor_shape.SetInParent()  # a scalar has a shape too, one without sizes
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size


def pack_content(array: Array) -> TensorProto:
    """Encode an array of numbers as `tensor_content`, little-endian and row-major: the form for requests."""
    proto = TensorProto()
    _describe(array, proto)
    dtype, _ = _DTYPES[proto.dtype]
    proto.tensor_content = np.ascontiguousarray(array, dtype).tobytes()
    return proto


def pack_values(array: Array) -> TensorProto:
    """Encode an array in its typed field, one value an element: the form in which TensorFlow Serving answers."""
    proto = TensorProto()
    put_values(array, proto)
    return proto


def put_values(array: Array, proto: TensorProto) -> None:
    """Encode an array as `pack_values` does, into a message that is still empty."""
    _describe(array, proto)
    _, field = _DTYPES[proto.dtype]
    values = array.ravel().tolist()
    if field == "string_val":
        values = [value.encode() if isinstance(value, str) else value for value in values]
    getattr(proto, field).extend(values)


MAX_RANK = 254
"""TensorFlow's limit (core/framework/tensor_shape.h). 2 MB hold 200,000 dimensions, whose product takes minutes."""


def unpack(proto: TensorProto) -> Array:
    """Decode a tensor. Strings come as an object array of bytes; the result may be read-only.

    `tensor_content` wins over the typed field and must have the exact length. In the typed field too few values mean
    that the last one is repeated, none means zeros, and surplus ones are ignored. Raises ValueError otherwise.
    """
    described, content = proto.tensor_shape, proto.tensor_content
    if proto.dtype not in _DTYPES or described.unknown_rank:
        raise ValueError("unknown dtype or rank")
    if len(described.dim) > MAX_RANK:
        raise ValueError(f"more than {MAX_RANK} dimensions")
    dtype, field = _DTYPES[proto.dtype]
    shape = [dim.size for dim in described.dim]
    if min(shape, default=0) < 0:
        raise ValueError(f"negative dimension in shape {shape}")
    if content and field != "string_val":
        return np.frombuffer(content, dtype).reshape(shape)
    return _fill(getattr(proto, field), dtype, shape)


MAX_FILLED_BYTES = 64 << 20
"""A typed field may ask for more elements than it holds; past this size that is an attack, not a tensor."""


def _fill(values: Any, dtype: np.dtype[Any], shape: list[int]) -> Array:
    count = 1
    for size in shape:
        count *= size  # Python's integers do not overflow, NumPy's would
    if len(values) < count and count * dtype.itemsize > MAX_FILLED_BYTES:
        raise ValueError(f"{len(values)} values for {count} elements")
    blank: Callable[[], Any] = bytes if dtype.kind == "O" else int
    given = np.array(values[:count] or [blank()], object if dtype.kind == "O" else None).astype(dtype)
    filled = np.empty(count, dtype)
    filled[: len(given)] = given[:count]
    filled[len(given) :] = given[-1]
    return filled.reshape(shape)
