"""The embedded server through the official stubs, against TensorFlow Serving's contract: answers, errors, order."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.wrappers_pb2 import Int64Value
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.framework.tensor_shape_pb2 import TensorShapeProto
from tensorflow.core.framework.types_pb2 import DT_UINT8
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, ModelVersionStatus
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub
from tensorflow_serving.apis.regression_pb2 import RegressionRequest

from serving import versions

ONE = np.zeros((1, 28, 28), np.uint8)
TIMEOUT = 30


@pytest.fixture(scope="module")
def channel(served: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(served) as channel:
        yield channel


@pytest.fixture(scope="module")
def prediction(channel: grpc.Channel) -> PredictionServiceStub:
    return PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def status(channel: grpc.Channel) -> ModelServiceStub:
    return ModelServiceStub(channel)


def predict_request(
    inputs: dict[str, Any] | None = None, output_filter: tuple[str, ...] = (), **spec
) -> PredictRequest:
    spec = {"name": "digits"} | spec
    tensors = {name: tf.make_tensor_proto(value) for name, value in (inputs or {"images": ONE}).items()}
    return PredictRequest(model_spec=ModelSpec(**spec), inputs=tensors, output_filter=output_filter)


def refused(call: Any, request: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=TIMEOUT)
    return caught.value.code().name, caught.value.details()


def test_predict_answers_with_typed_values_and_the_version_and_signature_used(prediction, mnist_test) -> None:
    images, labels = mnist_test
    answer = prediction.Predict(predict_request({"images": images[:1000]}), timeout=TIMEOUT)
    assert answer.model_spec == ModelSpec(name="digits", version=Int64Value(value=1), signature_name="serving_default")
    assert set(answer.outputs) == {"probabilities", "digit"}
    assert len(answer.outputs["probabilities"].float_val) == 10_000
    assert len(answer.outputs["digit"].int64_val) == 1000
    probabilities, digit = tf.make_ndarray(answer.outputs["probabilities"]), tf.make_ndarray(answer.outputs["digit"])
    assert (probabilities.shape, probabilities.dtype, digit.dtype) == ((1000, 10), np.float32, np.int64)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), digit)
    assert (digit == labels[:1000]).mean() > 0.9


def test_the_benchmark_signature_answers_rows_and_blanks_past_the_end(prediction, model_root: Path) -> None:
    request = predict_request({"row": np.array([0, 1, 2], np.int32)}, signature_name="benchmark")
    answer = prediction.Predict(request, timeout=TIMEOUT)
    rows = versions.read_json(model_root / "digits" / "1" / versions.BENCHMARK_FILE)["results"]
    assert answer.model_spec.signature_name == "benchmark"
    assert list(answer.outputs["model"].string_val) == [b"A", b"B", b""]
    assert list(answer.outputs["accuracy"].float_val) == [*(np.float32(row["accuracy"]) for row in rows), 0]
    assert list(answer.outputs["served"].bool_val) == [*(row["served"] for row in rows), False]


def test_typed_values_and_tensor_content_give_the_same_answer(prediction, mnist_test) -> None:
    image = mnist_test[0][:1]
    content, typed = predict_request({"images": image}), predict_request()
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in image.shape])
    typed.inputs["images"].CopyFrom(TensorProto(dtype=DT_UINT8, tensor_shape=shape, int_val=image.ravel().tolist()))
    assert prediction.Predict(content, timeout=TIMEOUT) == prediction.Predict(typed, timeout=TIMEOUT)


def test_one_value_fills_a_tensor_and_none_means_zeros(prediction) -> None:
    blank, filled = predict_request(), predict_request()
    shape = blank.inputs["images"].tensor_shape
    blank.inputs["images"].CopyFrom(TensorProto(dtype=DT_UINT8, tensor_shape=shape))
    filled.inputs["images"].CopyFrom(TensorProto(dtype=DT_UINT8, tensor_shape=shape, int_val=[0]))
    reference = prediction.Predict(predict_request({"images": ONE}), timeout=TIMEOUT)
    assert prediction.Predict(blank, timeout=TIMEOUT) == reference
    assert prediction.Predict(filled, timeout=TIMEOUT) == reference


def test_the_output_filter_chooses_the_outputs(prediction) -> None:
    answer = prediction.Predict(predict_request(output_filter=("digit",)), timeout=TIMEOUT)
    assert list(answer.outputs) == ["digit"]


def test_every_model_is_served_under_its_name_and_version(prediction) -> None:
    for name in ("digits", "A", "B"):
        answer = prediction.Predict(predict_request(name=name, version=Int64Value(value=1)), timeout=TIMEOUT)
        assert (answer.model_spec.name, answer.model_spec.version.value) == (name, 1)


def test_requests_of_8_mib_are_answered(prediction) -> None:
    answer = prediction.Predict(predict_request({"images": np.zeros((11_000, 28, 28), np.uint8)}), timeout=TIMEOUT)
    assert len(answer.outputs["digit"].int64_val) == 11_000


WRONG_NAME = (
    "Signature input alias: images(feed name: serving_default_images:0) not found in request and no default value "
    "provided. Inputs expected to be in the request {image}, or default input alias set: "
)
REFUSALS = {
    "no spec": (PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
    "no name": (predict_request(name=""), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    "unknown model": (predict_request(name="x"), "NOT_FOUND", "Servable not found for request: Latest(x)"),
    "unknown version": (
        predict_request(version=Int64Value(value=9)),
        "NOT_FOUND",
        "Servable not found for request: Specific(digits, 9)",
    ),
    "version zero is a version": (
        predict_request(version=Int64Value(value=0)),
        "NOT_FOUND",
        "Servable not found for request: Specific(digits, 0)",
    ),
    "unknown label": (
        predict_request(version_label="stable"),
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: stable",
    ),
    "unknown signature": (
        predict_request(signature_name="x"),
        "FAILED_PRECONDITION",
        'Serving signature key "x" not found.',
    ),
    "model before signature": (
        predict_request({"x": ONE}, name="x", signature_name="x"),
        "NOT_FOUND",
        "Servable not found for request: Latest(x)",
    ),
    "signature before inputs": (
        predict_request({"x": ONE}, signature_name="x"),
        "FAILED_PRECONDITION",
        'Serving signature key "x" not found.',
    ),
    "too many inputs": (
        predict_request({"images": ONE, "b": ONE, "a": ONE}),
        "INVALID_ARGUMENT",
        "input size does not match signature: 3!=1 len({a,b,images}) != len({images}). "
        "Sent extra: {a,b}. Missing but required: {}.",
    ),
    "no inputs": (
        PredictRequest(model_spec=ModelSpec(name="digits")),
        "INVALID_ARGUMENT",
        "input size does not match signature: 0!=1 len({}) != len({images}). "
        "Sent extra: {}. Missing but required: {images}.",
    ),
    "wrong name": (
        predict_request({"image": ONE}),
        "INVALID_ARGUMENT",
        WRONG_NAME,
    ),
    "inputs before output filter": (
        predict_request({"image": ONE}, output_filter=("x",)),
        "INVALID_ARGUMENT",
        WRONG_NAME,
    ),
    "unknown output": (
        predict_request(output_filter=("x",)),
        "INVALID_ARGUMENT",
        "output tensor alias not found in signature: x Outputs expected to be in the set {digit,probabilities}.",
    ),
    "repeated output": (
        predict_request(output_filter=("digit", "digit")),
        "INVALID_ARGUMENT",
        "duplicate output tensor alias: digit",
    ),
}


@pytest.mark.parametrize("situation", REFUSALS)
def test_a_refusal_has_tensorflow_servings_code_and_text(prediction, situation: str) -> None:
    request, code, text = REFUSALS[situation]
    assert refused(prediction.Predict, request) == (code, text)


def test_long_texts_are_cut_as_tensorflow_serving_cuts_them(prediction) -> None:
    _, text = refused(prediction.Predict, predict_request(name="x" * 2000))
    assert text == ("Servable not found for request: Latest(" + "x" * 2000)[:1024] + "...TRUNCATED"


@pytest.mark.parametrize("shape", [(28, 28), (784,), (), (1, 784), (1, 28, 28, 1), (1, 27, 28), (2, 28, 29), (0,)])
def test_a_wrong_shape_is_refused_and_the_server_lives(prediction, shape: tuple[int, ...]) -> None:
    sizes = ",".join(map(str, shape))
    assert refused(prediction.Predict, predict_request({"images": np.zeros(shape, np.uint8)})) == (
        "INVALID_ARGUMENT",
        f"Shape of tensor images [{sizes}] is not compatible with expected shape [?,28,28].",
    )
    assert prediction.Predict(predict_request(), timeout=TIMEOUT).outputs


def test_a_request_without_images_is_refused(prediction) -> None:
    request = predict_request({"images": np.zeros((0, 28, 28), np.uint8)})
    assert refused(prediction.Predict, request) == (
        "INVALID_ARGUMENT",
        "Tensor images holds no image: send at least one.",
    )


@pytest.mark.parametrize("dtype", ["float", "double", "int32", "int64", "half", "bool", "string"])
def test_no_dtype_is_cast(prediction, dtype: str) -> None:
    array = np.zeros((1, 28, 28), {"float": "f4", "double": "f8", "half": "f2", "string": "S1"}.get(dtype, dtype))
    assert refused(prediction.Predict, predict_request({"images": array})) == (
        "INVALID_ARGUMENT",
        f"Expects arg[0] to be uint8 but {dtype} is provided",
    )


@pytest.mark.parametrize(
    "tensor",
    [
        TensorProto(),
        TensorProto(dtype=DT_UINT8, tensor_content=b"123", tensor_shape={"dim": [{"size": 1}, {"size": 28}]}),
        TensorProto(dtype=DT_UINT8, tensor_shape={"dim": [{"size": -1}, {"size": 28}, {"size": 28}]}),
        TensorProto(dtype=DT_UINT8, tensor_shape={"unknown_rank": True}),
        TensorProto(dtype=DT_UINT8, tensor_shape={"dim": [{"size": 2**40}, {"size": 2**40}, {"size": 28}]}),
    ],
    ids=["no dtype", "cut content", "negative size", "unknown rank", "a claim of 2^80 images"],
)
def test_a_tensor_that_cannot_be_decoded_is_refused(prediction, tensor: TensorProto) -> None:
    request = predict_request()
    request.inputs["images"].CopyFrom(tensor)
    assert refused(prediction.Predict, request) == ("INVALID_ARGUMENT", "tensor parsing error: images")


def test_garbage_bytes_are_internal_and_the_server_lives(channel, prediction) -> None:
    raw = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    assert refused(raw, b"\xff\xfe garbage")[0] == "INTERNAL"
    assert prediction.Predict(predict_request(), timeout=TIMEOUT).outputs


def test_methods_for_examples_are_unimplemented(prediction, channel) -> None:
    calls = [
        (prediction.Classify, ClassificationRequest()),
        (prediction.Regress, RegressionRequest()),
        (prediction.MultiInference, MultiInferenceRequest()),
        (channel.unary_unary("/tensorflow.serving.SessionService/SessionRun"), b""),
    ]
    assert [refused(call, request)[0] for call, request in calls] == ["UNIMPLEMENTED"] * 4


def test_metadata_is_the_savedmodels_own(prediction, model_root: Path) -> None:
    request = GetModelMetadataRequest(model_spec=ModelSpec(name="A"), metadata_field=["signature_def"])
    answer = prediction.GetModelMetadata(request, timeout=TIMEOUT)
    told = SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(told)
    saved = SavedModel.FromString((model_root / "A" / "1" / versions.GRAPH_FILE).read_bytes())
    assert told == SignatureDefMap(signature_def=saved.meta_graphs[0].signature_def)
    assert answer.model_spec == ModelSpec(name="A", version=Int64Value(value=1))


METADATA_REFUSALS = [
    (GetModelMetadataRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
    (
        GetModelMetadataRequest(model_spec=ModelSpec(name="x")),
        "INVALID_ARGUMENT",
        "GetModelMetadataRequest must specify at least one metadata_field",
    ),
    (
        GetModelMetadataRequest(model_spec=ModelSpec(name="x"), metadata_field=["y"]),
        "INVALID_ARGUMENT",
        "Metadata field y is not supported",
    ),
    (
        GetModelMetadataRequest(model_spec=ModelSpec(), metadata_field=["signature_def"]),
        "INVALID_ARGUMENT",
        "ModelSpec has no name specified.",
    ),
    (
        GetModelMetadataRequest(model_spec=ModelSpec(name="x"), metadata_field=["signature_def"]),
        "NOT_FOUND",
        "Servable not found for request: Latest(x)",
    ),
]


@pytest.mark.parametrize(("request_", "code", "text"), METADATA_REFUSALS)
def test_metadata_checks_the_field_before_the_model(prediction, request_, code: str, text: str) -> None:
    assert refused(prediction.GetModelMetadata, request_) == (code, text)


@pytest.mark.parametrize("spec", [{}, {"version": Int64Value(value=1)}, {"version_label": "ignored"}])
def test_status_tells_the_state_of_versions(status, spec: dict[str, Any]) -> None:
    answer = status.GetModelStatus(GetModelStatusRequest(model_spec=ModelSpec(name="digits", **spec)), timeout=TIMEOUT)
    told = [(entry.version, entry.state, entry.status.error_code) for entry in answer.model_version_status]
    assert told == [(1, ModelVersionStatus.AVAILABLE, 0)]


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (GetModelStatusRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (GetModelStatusRequest(model_spec={}), "NOT_FOUND", "Could not find any versions of model "),
        (GetModelStatusRequest(model_spec={"name": "x"}), "NOT_FOUND", "Could not find any versions of model x"),
        (
            GetModelStatusRequest(model_spec={"name": "A", "version": Int64Value(value=7)}),
            "NOT_FOUND",
            "Could not find version 7 of model A",
        ),
    ],
)
def test_status_of_what_is_not_there_is_not_found(status, request_, code: str, text: str) -> None:
    assert refused(status.GetModelStatus, request_) == (code, text)


@pytest.mark.parametrize(
    "service",
    [
        "",
        "tensorflow.serving.PredictionService",
        "tensorflow.serving.ModelService",
        "PredictionService",
        "ModelService",
    ],
)
def test_health_is_serving_while_a_version_is_available(channel, service: str) -> None:
    stub, request = health_pb2_grpc.HealthStub(channel), health_pb2.HealthCheckRequest(service=service)
    assert stub.Check(request, timeout=TIMEOUT).status == health_pb2.HealthCheckResponse.SERVING


def test_health_of_an_unknown_service_is_not_found(channel) -> None:
    stub, request = health_pb2_grpc.HealthStub(channel), health_pb2.HealthCheckRequest(service="x")
    assert refused(stub.Check, request)[0] == "NOT_FOUND"
