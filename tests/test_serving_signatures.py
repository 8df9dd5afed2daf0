"""Requests against signatures with defaults, which our exports do not have: TensorFlow Serving's rules all the same."""

import numpy as np
import pytest

from client.proto.tensor_pb2 import SignatureDef, TensorInfo
from client.tensors import pack_content
from serving import signatures
from serving.errors import ServingError

ONE, TWO = np.ones(1, np.float32), np.full(1, 2, np.float32)


def signature(*defaults: str) -> SignatureDef:
    """x and y, float [-1], with a default of two for those that are named."""
    made = SignatureDef()
    for alias in ("x", "y"):
        made.inputs[alias].CopyFrom(TensorInfo(name=f"{alias}:0", dtype="DT_FLOAT"))
        made.inputs[alias].tensor_shape.dim.add(size=-1)
    for alias in defaults:
        made.defaults[alias].CopyFrom(pack_content(TWO))
    return made


def decoded(made: SignatureDef, *given: str) -> dict[str, np.ndarray]:
    ready = signatures.Signature(made)
    return signatures.check_inputs(ready, signatures.decode_inputs(ready, {name: pack_content(ONE) for name in given}))


@pytest.mark.parametrize(
    ("defaults", "given", "values"),
    [
        ("y", "x", {"x": 1, "y": 2}),
        ("xy", "", {"x": 2, "y": 2}),
        ("xy", "xy", {"x": 1, "y": 1}),
        ("", "xy", {"x": 1, "y": 1}),
    ],
)
def test_a_default_stands_for_an_input_that_is_left_out(defaults: str, given: str, values: dict[str, int]) -> None:
    assert {name: array[0] for name, array in decoded(signature(*defaults), *given).items()} == values


@pytest.mark.parametrize(
    ("defaults", "given", "text"),
    [
        (
            "y",
            "",
            "Signature input alias: x(feed name: x:0) not found in request and no default value provided. Inputs "
            "expected to be in the request {}, or default input alias set: y",
        ),
        ("xy", "z", "Inputs contains invalid name. Used request inputs: , request input: z"),
        ("y", "xz", "Inputs contains invalid name. Used request inputs: x, request input: x,z"),
        (
            "xy",
            "xyz",
            "input size does not match signature: 3!=2 len({x,y,z}) != len({x,y}). "
            "Sent extra: {z}. Missing but required: {}.",
        ),
        (
            "",
            "x",
            "input size does not match signature: 1!=2 len({x}) != len({x,y}). "
            "Sent extra: {}. Missing but required: {y}.",
        ),
    ],
)
def test_what_no_default_can_mend_is_refused(defaults: str, given: str, text: str) -> None:
    with pytest.raises(ServingError) as caught:
        decoded(signature(*defaults), *given)
    assert (caught.value.status, str(caught.value)) == ("INVALID_ARGUMENT", text)
