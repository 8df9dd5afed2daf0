"""TensorFlow Serving's contract through the official stubs: answers, errors and their order.

    pytest -m conformance                       # the embedded server, on models that are trained for the tests
    pytest -m conformance --server HOST:PORT    # any server that hosts our `digits`

REST is in test_conformance_rest.py, what needs the server's folders in test_conformance_versions.py. Where the embedded
server gives more than TensorFlow Serving does (health by default, a refusal of empty requests), another server's rows
are skipped.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.wrappers_pb2 import Int64Value
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.framework.tensor_shape_pb2 import TensorShapeProto
from tensorflow.core.framework.types_pb2 import DT_UINT8
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, ModelVersionStatus
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub
from tensorflow_serving.apis.regression_pb2 import RegressionRequest

from serving import versions

pytestmark = pytest.mark.conformance

ONE = np.zeros((1, 28, 28), np.uint8)
TIMEOUT = 30


@pytest.fixture(scope="module")
def channel(address: str) -> Iterator[grpc.Channel]:
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(address, options) as channel:
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
    return caught.value.code().name, caught.value.details().rstrip(" ")  # proxies take off a blank, and so do we


def test_predict_answers_with_typed_values_and_the_version_and_signature_used(prediction, version, mnist_test) -> None:
    images, labels = mnist_test
    answer = prediction.Predict(predict_request({"images": images[:1000]}), timeout=TIMEOUT)
    assert answer.model_spec == ModelSpec(
        name="digits", version=Int64Value(value=version), signature_name="serving_default"
    )
    assert set(answer.outputs) == {"probabilities", "digit"}
    assert len(answer.outputs["probabilities"].float_val) == 10_000
    assert len(answer.outputs["digit"].int64_val) == 1000
    probabilities, digit = tf.make_ndarray(answer.outputs["probabilities"]), tf.make_ndarray(answer.outputs["digit"])
    assert (probabilities.shape, probabilities.dtype, digit.dtype) == ((1000, 10), np.float32, np.int64)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), digit)
    assert (digit == labels[:1000]).mean() > 0.9


def test_the_benchmark_signature_answers_rows_and_blanks_past_the_end(prediction) -> None:
    request = predict_request({"row": np.array([0, 1, 99], np.int32)}, signature_name="benchmark")
    answer = prediction.Predict(request, timeout=TIMEOUT)
    assert answer.model_spec.signature_name == "benchmark"
    assert set(answer.outputs) == {"model", "description", "loss", "accuracy", "served"}
    assert [bool(name) for name in answer.outputs["model"].string_val] == [True, True, False]
    accuracy, served = answer.outputs["accuracy"].float_val, answer.outputs["served"].bool_val
    assert (len(accuracy), accuracy[2], len(served), served[2]) == (3, 0, 3, False)


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


def test_a_version_that_is_asked_for_answers(prediction, version) -> None:
    answer = prediction.Predict(predict_request(version=Int64Value(value=version)), timeout=TIMEOUT)
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("digits", version)


def test_an_explicit_signature_is_the_default_one(prediction) -> None:
    named = prediction.Predict(predict_request(signature_name="serving_default"), timeout=TIMEOUT)
    assert named == prediction.Predict(predict_request(), timeout=TIMEOUT)


def test_requests_of_8_mib_are_answered(prediction) -> None:
    answer = prediction.Predict(predict_request({"images": np.zeros((11_000, 28, 28), np.uint8)}), timeout=TIMEOUT)
    assert len(answer.outputs["digit"].int64_val) == 11_000


WRONG_NAME = (
    "Signature input alias: images(feed name: serving_default_images:0) not found in request and no default value "
    "provided. Inputs expected to be in the request {image}, or default input alias set:"
)
REFUSALS = {
    "no spec": (PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
    "no name": (predict_request(name=""), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    "unknown model": (predict_request(name="x"), "NOT_FOUND", "Servable not found for request: Latest(x)"),
    "unknown version": (
        predict_request(version=Int64Value(value=10**9)),
        "NOT_FOUND",
        "Servable not found for request: Specific(digits, 1000000000)",
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
    "unknown label of an unknown model": (
        predict_request(name="x", version_label="stable"),
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: stable",
    ),
    "no name before an unknown label": (
        predict_request(name="", version_label="stable"),
        "INVALID_ARGUMENT",
        "ModelSpec has no name specified.",
    ),
    "an unknown version of an unknown model": (
        predict_request(name="x", version=Int64Value(value=1)),
        "NOT_FOUND",
        "Servable not found for request: Specific(x, 1)",
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
    "output filter before types": (
        predict_request({"images": np.zeros((1, 28, 28), np.float32)}, output_filter=("x",)),
        "INVALID_ARGUMENT",
        "output tensor alias not found in signature: x Outputs expected to be in the set {digit,probabilities}.",
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
    code, text = refused(prediction.Predict, predict_request({"images": np.zeros(shape, np.uint8)}))
    assert code == "INVALID_ARGUMENT"
    assert text.startswith("Shape of tensor ")
    assert f" [{','.join(map(str, shape))}] is not compatible with expected shape [?,28,28]." in text
    assert prediction.Predict(predict_request(), timeout=TIMEOUT).outputs


@pytest.mark.usefixtures("embedded")
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


@pytest.mark.usefixtures("embedded")
@pytest.mark.parametrize(
    ("method", "request_type"),
    [
        ("Classify", ClassificationRequest),
        ("Regress", RegressionRequest),
        ("MultiInference", MultiInferenceRequest),
    ],
)
def test_methods_for_examples_say_plainly_that_they_are_not_offered(prediction, method: str, request_type) -> None:
    assert refused(getattr(prediction, method), request_type()) == (
        "UNIMPLEMENTED",
        f"{method} takes tf.Example records, which the digit models do not read. Call Predict.",
    )


def test_a_method_of_no_service_is_unimplemented(channel) -> None:
    session_run = channel.unary_unary("/tensorflow.serving.SessionService/SessionRun")
    assert refused(session_run, b"")[0] == "UNIMPLEMENTED"


def test_a_request_that_takes_longer_than_its_deadline_is_deadline_exceeded(prediction) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        prediction.Predict(predict_request({"images": np.zeros((20_000, 28, 28), np.uint8)}), timeout=0.01)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert prediction.Predict(predict_request(), timeout=TIMEOUT).outputs


def test_metadata_tells_all_signatures_with_tensor_names_and_shapes(prediction, version) -> None:
    request = GetModelMetadataRequest(model_spec=ModelSpec(name="digits"), metadata_field=["signature_def"])
    answer = prediction.GetModelMetadata(request, timeout=TIMEOUT)
    assert answer.model_spec == ModelSpec(name="digits", version=Int64Value(value=version))
    assert list(answer.metadata) == ["signature_def"]
    told = SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(told)
    assert set(told.signature_def) >= {"serving_default", "benchmark", "__saved_model_init_op"}
    [(alias, images)] = told.signature_def["serving_default"].inputs.items()
    assert (alias, images.name, images.dtype) == ("images", "serving_default_images:0", DT_UINT8)
    assert [dim.size for dim in images.tensor_shape.dim] == [-1, 28, 28]


@pytest.mark.usefixtures("embedded")
def test_metadata_is_the_savedmodels_own(prediction, model_root: Path) -> None:
    request = GetModelMetadataRequest(model_spec=ModelSpec(name="A"), metadata_field=["signature_def"])
    told = SignatureDefMap()
    assert prediction.GetModelMetadata(request, timeout=TIMEOUT).metadata["signature_def"].Unpack(told)
    saved = SavedModel.FromString((model_root / "A" / "1" / versions.GRAPH_FILE).read_bytes())
    assert told == SignatureDefMap(signature_def=saved.meta_graphs[0].signature_def)


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


@pytest.mark.parametrize("spec", [{}, {"version_label": "ignored"}])
def test_status_tells_all_versions_the_newest_first_and_ignores_labels(status, version, spec: dict[str, Any]) -> None:
    answer = status.GetModelStatus(GetModelStatusRequest(model_spec=ModelSpec(name="digits", **spec)), timeout=TIMEOUT)
    told = {entry.version: (entry.state, entry.status.error_code) for entry in answer.model_version_status}
    assert told[version] == (ModelVersionStatus.AVAILABLE, 0)
    assert list(told) == sorted(told, reverse=True)


def test_status_of_one_version_tells_it_alone(status, version) -> None:
    spec = ModelSpec(name="digits", version=Int64Value(value=version))
    answer = status.GetModelStatus(GetModelStatusRequest(model_spec=spec), timeout=TIMEOUT)
    assert [(told.version, told.state) for told in answer.model_version_status] == [
        (version, ModelVersionStatus.AVAILABLE)
    ]


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (GetModelStatusRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (GetModelStatusRequest(model_spec={}), "NOT_FOUND", "Could not find any versions of model"),
        (GetModelStatusRequest(model_spec={"name": "x"}), "NOT_FOUND", "Could not find any versions of model x"),
        (
            GetModelStatusRequest(model_spec={"name": "digits", "version": Int64Value(value=10**9)}),
            "NOT_FOUND",
            "Could not find version 1000000000 of model digits",
        ),
    ],
)
def test_status_of_what_is_not_there_is_not_found(status, request_, code: str, text: str) -> None:
    assert refused(status.GetModelStatus, request_) == (code, text)


def config(**model) -> ReloadConfigRequest:
    """A reload request for one model; nothing of it is to be followed."""
    model = {"name": "digits", "base_path": "/models/digits", "model_platform": "tensorflow"} | model
    return ReloadConfigRequest(config={"model_config_list": {"config": [model]}})


RELOAD_REFUSALS = {
    "no list": (
        ReloadConfigRequest(),
        "ServerModelConfig type not supported by HandleReloadConfigRequest. "
        "Only ModelConfigList is currently supported",
    ),
    "custom configuration": (
        ReloadConfigRequest(config={"custom_model_config": {"type_url": "x"}}),
        "ServerModelConfig type not supported by HandleReloadConfigRequest. "
        "Only ModelConfigList is currently supported",
    ),
    "duplicate name": (
        ReloadConfigRequest(config={"model_config_list": {"config": [{"name": "x", "base_path": "/x"}] * 2}}),
        "Illegal to list model x multiple times in config list",
    ),
    "relative base path": (
        config(base_path="models/digits"),
        "Expected model digits to have an absolute path or URI; got base_path()=models/digits",
    ),
    "empty platform": (
        config(model_platform=""),
        "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
        "ModelServerConfig::model_platform, model name is digits",
    ),
    "changed platform": (
        config(model_platform="other"),
        "Illegal to change a model's platform. For model digits platform was tensorflow and new platform requested is "
        "other",
    ),
}


@pytest.mark.parametrize("situation", RELOAD_REFUSALS)
def test_a_configuration_that_cannot_be_followed_is_refused_and_changes_nothing(
    status, prediction, version, situation: str
) -> None:
    request, text = RELOAD_REFUSALS[situation]
    assert refused(status.HandleReloadConfigRequest, request) == ("INVALID_ARGUMENT", text)
    assert prediction.Predict(predict_request(), timeout=TIMEOUT).model_spec.version.value == version


SERVICES = ["", "PredictionService", "ModelService"]
FULL_NAMES = ["tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"]


def health(channel: grpc.Channel, service: str) -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT).status


@pytest.mark.usefixtures("embedded")
@pytest.mark.parametrize("service", [*SERVICES, *FULL_NAMES])
def test_health_is_serving_while_a_version_is_available(channel, service: str) -> None:
    assert health(channel, service) == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.usefixtures("embedded")
def test_health_of_an_unknown_service_is_not_found(channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        health(channel, "x")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.fixture(scope="module")
def described(channel: grpc.Channel) -> ProtoReflectionDescriptorDatabase:
    return ProtoReflectionDescriptorDatabase(channel)


def test_reflection_lists_the_services(described) -> None:
    assert {*FULL_NAMES, "grpc.reflection.v1alpha.ServerReflection"} <= set(described.get_services())


def test_predict_can_be_called_by_what_reflection_tells_alone(described, channel, version) -> None:
    service = DescriptorPool(described).FindServiceByName("tensorflow.serving.PredictionService")
    method = service.FindMethodByName("Predict")
    asked, answered = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    blank = {"dtype": "DT_UINT8", "tensorShape": {"dim": [{"size": 1}, {"size": 28}, {"size": 28}]}}
    request = json_format.ParseDict({"modelSpec": {"name": "digits"}, "inputs": {"images": blank}}, asked())
    call = channel.unary_unary(f"/{service.full_name}/{method.name}", asked.SerializeToString, answered.FromString)
    answer = json_format.MessageToDict(call(request, timeout=TIMEOUT))
    assert answer["modelSpec"] == {"name": "digits", "version": str(version), "signatureName": "serving_default"}
    assert len(answer["outputs"]["probabilities"]["floatVal"]) == 10
