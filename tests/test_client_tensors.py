"""The tensor codec against TensorFlow's own make_tensor_proto and make_ndarray."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto as TensorFlowProto

from client.proto.tensor_pb2 import TensorProto
from client.tensors import MAX_FILLED_BYTES, pack_content, pack_values, unpack

NUMBERS = ["f4", "f8", "i4", "u1", "i2", "i1", "u2", "i8", "?", "u4", "u8"]
SHAPES = [(), (0,), (3,), (2, 3), (2, 0, 3)]


def example(dtype, shape):
    values = np.random.default_rng(0).integers(0, 2 if dtype == "?" else 100, shape)
    return np.asarray(values).astype(dtype)


@pytest.mark.parametrize("pack", [pack_content, pack_values])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", NUMBERS)
def test_tensorflow_reads_what_we_pack(dtype, shape, pack):
    array = example(dtype, shape)
    theirs = tf.make_ndarray(TensorFlowProto.FromString(pack(array).SerializeToString()))
    assert (theirs.dtype, theirs.shape) == (array.dtype, shape)
    np.testing.assert_array_equal(theirs, array)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", NUMBERS)
def test_we_read_what_tensorflow_packs(dtype, shape):
    array = example(dtype, shape)
    ours = unpack(TensorProto.FromString(tf.make_tensor_proto(array).SerializeToString()))
    assert (ours.dtype, ours.shape) == (array.dtype, shape)
    np.testing.assert_array_equal(ours, array)


def test_strings_travel_both_ways():
    texts = np.array([["A", "Ä"], ["", "LeNet"]])
    packed = pack_values(texts)
    assert packed.SerializeToString(deterministic=True) == tf.make_tensor_proto(texts).SerializeToString(
        deterministic=True
    )
    assert unpack(packed).tolist() == [[b"A", "Ä".encode()], [b"", b"LeNet"]]


@pytest.mark.parametrize("values", [[], [7], [7, 8], [1, 2, 3, 4]])
def test_a_typed_field_that_is_too_short_repeats_its_last_value(values):
    theirs = TensorFlowProto(dtype=tf.int32.as_datatype_enum, int_val=values)
    theirs.tensor_shape.dim.add(size=4)
    ours = unpack(TensorProto.FromString(theirs.SerializeToString()))
    assert ours.tolist() == tf.make_ndarray(theirs).tolist()


def test_surplus_values_are_ignored():
    proto = pack_values(np.arange(5, dtype=np.int32))
    proto.tensor_shape.dim[0].size = 3
    assert unpack(proto).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (lambda proto: proto.tensor_shape.dim.add(size=-1), r"negative dimension in shape \[3, -1\]"),
        (lambda proto: proto.tensor_shape.dim.add(size=2), r"size 3 into shape \(3,2\)"),
        (lambda proto: setattr(proto.tensor_shape, "unknown_rank", True), "unknown dtype or rank"),
        (lambda proto: setattr(proto, "dtype", "DT_HALF"), "unknown dtype or rank"),
        (lambda proto: setattr(proto, "tensor_content", b"123"), "multiple of element size"),
        (
            lambda proto: (setattr(proto, "tensor_content", b""), proto.tensor_shape.dim.add(size=MAX_FILLED_BYTES)),
            f"0 values for {3 * MAX_FILLED_BYTES} elements",
        ),
    ],
    ids=["negative", "other length", "unknown rank", "other type", "cut", "huge"],
)
def test_a_broken_tensor_is_a_value_error(break_it, told):
    proto = pack_content(np.arange(3, dtype=np.float32))
    break_it(proto)
    with pytest.raises(ValueError, match=told):
        unpack(proto)


def test_more_dimensions_than_tensorflow_has_are_refused_before_they_are_multiplied():
    proto = pack_content(np.arange(3, dtype=np.float32))
    for _ in range(100_000):
        proto.tensor_shape.dim.add(size=2**62)
    with pytest.raises(ValueError, match="more than 254 dimensions"):
        unpack(proto)


def test_an_array_without_a_tensorflow_type_is_a_value_error():
    with pytest.raises(ValueError, match="datetime64"):
        pack_values(np.array(["2026-01-01"], "M8[D]"))
