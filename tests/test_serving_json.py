"""JSON values to tensors and back, type by type, with TensorFlow Serving's texts for what does not fit."""

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest

from client.proto.tensor_pb2 import DataType, TensorInfo
from client.tensors import pack_values, unpack
from serving.errors import ServingError
from serving.json_bodies import read_inputs, write_outputs
from serving.json_tensors import to_array, to_json

INFINITY, NAN = float("inf"), float("nan")


def refused(call: Any, *arguments: Any) -> tuple[str, str]:
    with pytest.raises(ServingError) as caught:
        call(*arguments)
    return caught.value.status, str(caught.value)


@pytest.mark.parametrize(
    ("dtype", "value", "wanted"),
    [
        ("FLOAT", [1, 0.5, 16777215, 1e9, 10**30], np.float32([1, 0.5, 16777215, 1e9, 1e30])),
        ("FLOAT", [NAN, INFINITY, -INFINITY], np.float32([NAN, INFINITY, -INFINITY])),
        ("DOUBLE", [[0.1], [2**53 - 1]], np.float64([[0.1], [2**53 - 1]])),
        ("INT32", 7, np.int32(7)),
        ("INT32", [-(2**31), 2**31 - 1], np.int32([-(2**31), 2**31 - 1])),
        ("INT16", [65537], np.int16([1])),
        ("INT8", [255], np.int8([-1])),
        ("UINT8", [300, -1], np.uint8([44, 255])),
        ("INT64", [2**63 - 1, -(2**63)], np.int64([2**63 - 1, -(2**63)])),
        ("UINT32", [2**32 - 1], np.uint32([2**32 - 1])),
        ("UINT64", [2**64 - 1], np.uint64([2**64 - 1])),
        ("BOOL", [[True, False]], np.array([[True, False]])),
        ("STRING", ["ä", {"b64": "/wA="}, {"b64": "/wA"}], np.array(["ä".encode(), b"\xff\0", b"\xff\0"], object)),
        ("FLOAT", [], np.float32([])),
        ("INT64", [[], []], np.zeros((2, 0), np.int64)),
    ],
)
def test_a_value_becomes_an_array_of_its_type(dtype: str, value: Any, wanted: np.ndarray) -> None:
    array = to_array(value, DataType.Value(f"DT_{dtype}"))
    assert (array.dtype, array.shape) == (wanted.dtype, wanted.shape)
    np.testing.assert_array_equal(array, wanted)


@pytest.mark.parametrize(
    ("dtype", "value", "text"),
    [
        ("FLOAT", ["1"], 'JSON Value: "1" Type: String is not of expected type: float'),
        ("FLOAT", [None], "JSON Value: null Type: Null is not of expected type: float"),
        ("FLOAT", [True], "JSON Value: true Type: True is not of expected type: float"),
        ("FLOAT", [0.5, 16777216], "Cannot convert JSON value: 16777216 to float without loss of precision."),
        ("FLOAT", [1e39], "Cannot convert JSON value: 1e+39 to float without loss of precision."),
        ("DOUBLE", [2**53], "Cannot convert JSON value: 9007199254740992 to double without loss of precision."),
        ("INT32", [1.0], "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        ("INT32", [2**31], "JSON Value: 2147483648 Type: Number is not of expected type: int32"),
        ("UINT8", [False], "JSON Value: false Type: False is not of expected type: uint8"),
        ("INT64", [2**63], "JSON Value: 9223372036854775808 Type: Number is not of expected type: int64"),
        ("UINT32", [-1], "JSON Value: -1 Type: Number is not of expected type: uint32"),
        ("UINT64", [-1], "JSON Value: -1 Type: Number is not of expected type: uint64"),
        ("BOOL", [1], "JSON Value: 1 Type: Number is not of expected type: bool"),
        ("STRING", [1], "JSON Value: 1 Type: Number is not of expected type: string"),
        ("STRING", [{"b64": "*"}], "Unable to base64 decode"),
        ("STRING", [{"b65": 1}], 'JSON Value: {\n    "b65": 1\n} not formatted correctly for base64 data'),
    ],
)
def test_a_value_of_another_type_is_refused(dtype: str, value: Any, text: str) -> None:
    assert refused(to_array, value, DataType.Value(f"DT_{dtype}")) == ("INVALID_ARGUMENT", text)


def test_a_large_value_is_quoted_in_part_and_never_written_out() -> None:
    tracemalloc.start()
    _, text = refused(to_array, {"rows": [[0] * 1000] * 100}, DataType.DT_FLOAT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    quoted = json.dumps({"rows": [[0] * 1000]}, indent=4)[:1024]
    assert text == f"JSON Value: {quoted}... Type: Object is not of expected type: float"
    assert peak < 100_000


def test_types_without_a_form_in_json_are_unimplemented() -> None:
    assert refused(to_array, 1, DataType.DT_HALF) == (
        "UNIMPLEMENTED",
        "Conversion of JSON Value: 1 to type: half",
    )
    assert refused(read_inputs, {"instances": [1]}, {"x": TensorInfo(dtype=DataType.DT_HALF)}) == (
        "INVALID_ARGUMENT",
        "Failed to process element: 0 of 'instances' list. Error: UNIMPLEMENTED: "
        "Conversion of JSON Value: 1 to type: half",
    )


TWO = {"text": TensorInfo(dtype=DataType.DT_STRING), "weight": TensorInfo(dtype=DataType.DT_FLOAT)}
SEVERAL = "multiple input tensors required as per tensorinfo_map"


def test_several_inputs_come_by_name_in_rows_and_in_columns() -> None:
    rows = read_inputs({"instances": [{"weight": [1, 2], "text": "a"}, {"weight": [3, 4], "text": "b"}]}, TWO)
    columns = read_inputs({"inputs": {"weight": [[1, 2], [3, 4]], "text": ["a", "b"]}}, TWO)
    assert rows == columns
    np.testing.assert_array_equal(unpack(rows["weight"]), np.float32([[1, 2], [3, 4]]))
    assert unpack(rows["text"]).tolist() == [b"a", b"b"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"instances": [1]}, f"instances is a plain list, but expecting list of objects as {SEVERAL}"),
        ({"inputs": [1]}, f"inputs is a plain value/list, but expecting an object as {SEVERAL}"),
        (
            {"instances": [{"text": "a"}]},
            "Failed to process element: 0 of 'instances' list. JSON object: "
            '{\n    "text": "a"\n} keys must be equal to: text,weight',
        ),
        ({"inputs": {"text": "a"}}, "Missing named input: weight in 'inputs' object."),
    ],
)
def test_several_inputs_without_their_names_are_refused(body: Any, text: str) -> None:
    assert refused(read_inputs, body, TWO) == ("INVALID_ARGUMENT", text)


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.float32([0.1, 1, 0.123456791, 9e6]), "[0.1, 1.0, 0.123456791, 9000000.0]"),
        (np.float32([[NAN], [INFINITY], [-INFINITY]]), "[[NaN], [Infinity], [-Infinity]]"),
        (np.float64([0.1, 1 / 3]), "[0.1, 0.3333333333333333]"),
        (np.int64([[2**62]]), "[[4611686018427387904]]"),
        (np.array([True]), "[true]"),
        (np.float32(0.5), "0.5"),
        (np.array(["ä".encode(), b"\xff"], object), '["ä", "\ufffd"]'),
    ],
)
def test_a_tensor_becomes_a_value(array: np.ndarray, text: str) -> None:
    assert json.dumps(to_json("out", pack_values(array)), ensure_ascii=False) == text


def test_strings_of_an_output_named_bytes_are_wrapped() -> None:
    assert to_json("image_bytes", pack_values(np.array([b"\xff\0"], object))) == [{"b64": "/wA="}]


def test_one_output_stands_alone_and_several_have_names() -> None:
    one = {"a": pack_values(np.int64([1, 2]))}
    two = one | {"b": pack_values(np.int64([[3], [4]]))}
    assert write_outputs({"instances": 0}, one) == {"predictions": [1, 2]}
    assert write_outputs({"inputs": 0}, one) == {"outputs": [1, 2]}
    assert write_outputs({"instances": 0}, two) == {"predictions": [{"a": 1, "b": [3]}, {"a": 2, "b": [4]}]}
    assert write_outputs({"inputs": 0}, two) == {"outputs": {"a": [1, 2], "b": [[3], [4]]}}


def test_rows_need_outputs_with_as_many_rows_each() -> None:
    scalar, uneven = pack_values(np.int64(1)), pack_values(np.int64([1]))
    both = {"a": pack_values(np.int64([1, 2])), "b": uneven}
    assert refused(write_outputs, {"instances": 0}, {"a": scalar}) == (
        "INVALID_ARGUMENT",
        "Tensor name: a has no shape information ",
    )
    assert refused(write_outputs, {"instances": 0}, both) == (
        "INVALID_ARGUMENT",
        "Tensor name: b has inconsistent batch size: 1 expecting: 2",
    )
    assert write_outputs({"inputs": 0}, {"a": scalar} | both)["outputs"] == {"a": [1, 2], "b": [1]}
