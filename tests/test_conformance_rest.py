"""TensorFlow Serving's REST contract over plain HTTP: routes, bodies, numbers, errors.

    pytest -m conformance --server HOST:PORT --rest HOST:PORT    # any server that hosts our `digits`

Limits, and what the embedded server gives beyond the contract, are skipped for another one.
"""

import gzip
import http.client
import json
import random
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from client import Client

pytestmark = pytest.mark.conformance

TIMEOUT = 30
PREDICT = "/v1/models/digits:predict"
BLANK = np.zeros((28, 28), np.uint8).tolist()


def ask(
    address: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes, str]:
    """Send one request; gives the code, the body and the content type."""
    with closing(http.client.HTTPConnection(address, timeout=TIMEOUT)) as connection:
        encoded = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, encoded, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers["Content-Type"]


@pytest.fixture(scope="module")
def rest(request: pytest.FixtureRequest) -> str:
    if request.config.getoption("--server"):
        return request.config.getoption("--rest") or pytest.skip("REST is tested where --rest says where it is")
    return request.getfixturevalue("endpoints")["REST"]


@pytest.fixture
def post(rest: str):
    """Send a body to predict; gives the code and the parsed answer."""

    def post(body: Any, path: str = PREDICT, **headers: str) -> tuple[int, Any]:
        code, answer, content_type = ask(rest, "POST", path, body, headers)
        assert content_type == "application/json"
        return code, json.loads(answer)

    return post


@pytest.fixture(scope="module")
def predictions(address: str, mnist_test):
    """What gRPC says to ten test images."""
    with Client(address) as client:
        return client.classify(mnist_test[0][:10])


def test_rows_and_columns_give_what_grpc_gives(post, mnist_test, predictions) -> None:
    images = mnist_test[0][:10].tolist()
    code, rows = post({"instances": images})
    assert (code, list(rows)) == (200, ["predictions"])
    columns = post({"inputs": images})[1]["outputs"]
    assert [row["digit"] for row in rows["predictions"]] == columns["digit"] == [one.digit for one in predictions]
    probabilities = [row["probabilities"] for row in rows["predictions"]]
    assert probabilities == columns["probabilities"]
    np.testing.assert_array_equal(np.float32(probabilities), np.float32([one.probabilities for one in predictions]))


def test_named_rows_and_named_columns_are_the_same(post, mnist_test) -> None:
    images = mnist_test[0][:3].tolist()
    plain = post({"instances": images})
    assert post({"instances": [{"images": image} for image in images]}) == plain
    assert post({"instances": images, "signature_name": "serving_default", "unknown": 1}) == plain
    assert post({"inputs": {"images": images, "surplus": 1}}) == post({"inputs": images})


def test_numbers_have_six_digits_or_as_many_as_tell_the_float(post, predictions, mnist_test) -> None:
    [row] = post({"instances": mnist_test[0][:1].tolist()})[1]["predictions"]
    for number, exact in zip(row["probabilities"], predictions[0].probabilities, strict=True):
        short = f"{exact:.6g}"
        assert number == float(short if np.float32(short) == np.float32(exact) else f"{exact:.9g}")


def test_the_benchmark_signature_has_one_value_a_row(post) -> None:
    code, answer = post({"signature_name": "benchmark", "instances": [0, 1, 99]})
    assert code == 200
    assert [bool(row["model"]) for row in answer["predictions"]] == [True, True, False]
    assert sorted(answer["predictions"][0]) == ["accuracy", "description", "loss", "model", "served"]
    columns = post({"signature_name": "benchmark", "inputs": {"row": [0, 1, 99]}})[1]["outputs"]
    assert columns["served"] == [row["served"] for row in answer["predictions"]]
    assert [type(served) for served in columns["served"]] == [bool] * 3


def test_whole_numbers_wrap_into_uint8_and_others_are_refused(post) -> None:
    def image(value: Any) -> list[list[Any]]:
        return [[value] * 28] * 28

    assert post({"instances": [image(300), image(-1)]}) == post({"instances": [image(44), image(255)]})
    for value, told in ((1.0, "1.0 Type: Number"), (True, "true Type: True"), ("1", '"1" Type: String')):
        assert post({"instances": [image(0), image(value)]}) == (
            400,
            {
                "error": "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
                f"JSON Value: {told} is not of expected type: uint8"
            },
        )
    assert post({"inputs": [image(2**31)]}) == (
        400,
        {"error": "JSON Value: 2147483648 Type: Number is not of expected type: uint8"},
    )


def test_every_version_and_case_of_the_path_answers(post, version: int) -> None:
    plain = post({"instances": [BLANK]})
    assert post({"instances": [BLANK]}, f"/V1/Models/digits/VERSIONS/{version}:predict") == plain
    assert post({"instances": [BLANK]}, "/v1/models/%64igits:predict") == plain


@pytest.mark.usefixtures("embedded")
def test_every_model_answers(post) -> None:
    assert post({"instances": [BLANK]}, "/v1/models/A:predict")[0] == 200


MISSING_NAME = "Missing model name in request."
REFUSALS: dict[str, tuple[str, str, Any, int, str]] = {
    "wrong method": ("PUT", PREDICT, {}, 400, f"Malformed request: PUT {PREDICT}"),
    "get of predict": ("GET", PREDICT, None, 400, f"Malformed request: GET {PREDICT}"),
    "slash at the end": ("GET", "/v1/models/digits/", None, 400, "Malformed request: GET /v1/models/digits/"),
    "verb in capitals": (
        "POST",
        "/v1/models/digits:PREDICT",
        {},
        400,
        "Malformed request: POST /v1/models/digits:PREDICT",
    ),
    "query": ("POST", f"{PREDICT}?a=1", {}, 400, f"Malformed request: POST {PREDICT}?a=1"),
    "query of status": (
        "GET",
        "/v1/models/digits?a=1",
        None,
        404,
        "Could not find any versions of model digits?a=1",
    ),
    "version without model": ("GET", "/v1/models/versions/1", None, 400, MISSING_NAME),
    "status of no model": ("GET", "/v1/models/x", None, 404, "Could not find any versions of model x"),
    "status of no version": (
        "GET",
        "/v1/models/digits/versions/987654",
        None,
        404,
        "Could not find version 987654 of model digits",
    ),
    "metadata of no model": (
        "GET",
        "/v1/models/x/metadata",
        None,
        404,
        "Servable not found for request: Latest(x)",
    ),
    "classify": (
        "POST",
        "/v1/models/digits:classify",
        {},
        501,
        "classify takes tf.Example records, which the digit models do not read. Use :predict",
    ),
    "empty body": ("POST", PREDICT, b"", 400, "JSON Parse error: The document is empty"),
    "no json": ("POST", PREDICT, b"  what", 400, "JSON Parse error: Invalid value. at offset: 2"),
    "no name": ("POST", PREDICT, b'{"\xc3\xa4": 1, 2}', 400, ""),
    "half a string": (
        "POST",
        PREDICT,
        b'{"a": "b',
        400,
        "JSON Parse error: Missing a closing quotation mark in string. at offset: 6",
    ),
    "no utf-8": ("POST", PREDICT, b'{"\xff"}', 400, "JSON Parse error: Invalid encoding in string. at offset: 2"),
    "no object": ("POST", PREDICT, 7, 400, "JSON Value: 7 Is not object"),
    "half a surrogate pair": (
        "POST",
        PREDICT,
        b'{"signature_name": "\\ud800"}',
        400,
        "JSON Parse error: The surrogate pair in string is invalid.",
    ),
    "too deep": (
        "POST",
        PREDICT,
        b'{"inputs":' + b"[" * 100_000,
        400,
        "JSON Parse error: Lists or objects are nested too deep.",
    ),
    "too deep for a tensor": (
        "POST",
        PREDICT,
        b'{"inputs":' + b"[" * 40 + b"0" + b"]" * 40 + b"}",
        400,
        "Encountered lists 40 deep, expected at most 32",
    ),
    "too many digits": (
        "POST",
        PREDICT,
        b'{"inputs":' + b"1" * 5000 + b"}",
        400,
        "JSON Parse error: Number too big to be stored in double.",
    ),
    "signature name before model": (
        "POST",
        "/v1/models/x:predict",
        {"signature_name": 1},
        400,
        'JSON Value: {\n    "signature_name": 1\n} not formatted correctly. '
        "'signature_name' key must be a string value.",
    ),
    "model before signature": (
        "POST",
        "/v1/models/x:predict",
        {"signature_name": "y"},
        404,
        "Servable not found for request: Latest(x)",
    ),
    "unknown version": (
        "POST",
        "/v1/models/digits/versions/987654:predict",
        {},
        404,
        "Servable not found for request: Specific(digits, 987654)",
    ),
    "unknown label": (
        "POST",
        "/v1/models/digits/labels/stable:predict",
        {},
        400,
        "Unrecognized servable version label: stable",
    ),
    "unknown signature": (
        "POST",
        PREDICT,
        {"signature_name": "y"},
        400,
        'Serving signature name: "y" not found in signature def',
    ),
    "signature without inputs": (
        "POST",
        PREDICT,
        {"signature_name": "__saved_model_init_op"},
        400,
        "Failed to get input map for signature: __saved_model_init_op",
    ),
    "no inputs": ("POST", PREDICT, {}, 400, "Missing 'inputs' or 'instances' key"),
    "no instances": ("POST", PREDICT, {"instances": []}, 400, ""),
    "instances no list": ("POST", PREDICT, {"instances": 1}, 400, ""),
    "both": ("POST", PREDICT, {"instances": [1], "inputs": [1]}, 400, ""),
    "missing name": (
        "POST",
        PREDICT,
        {"inputs": {"image": [BLANK]}},
        400,
        "Missing named input: images in 'inputs' object.",
    ),
    "wrong name": (
        "POST",
        PREDICT,
        {"instances": [{"image": BLANK}]},
        400,
        "Failed to process element: 0 key: image of 'instances' list. Error: INVALID_ARGUMENT: "
        "JSON object: does not have named input: image",
    ),
    "mixed": (
        "POST",
        PREDICT,
        {"instances": [{"images": BLANK}, BLANK]},
        400,
        "Expecting object but got list at item 1 of input list",
    ),
    "ragged": (
        "POST",
        PREDICT,
        {"inputs": [[0, 0], [0]]},
        400,
        "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
    ),
    "deeper later": (
        "POST",
        PREDICT,
        {"inputs": [[0], [[0]]]},
        400,
        "Encountered list at unexpected level: 2 expected < 2",
    ),
    "shallower later": (
        "POST",
        PREDICT,
        {"inputs": [[0], 0]},
        400,
        "JSON Value: 0 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
    ),
    "instances of two sizes": (
        "POST",
        PREDICT,
        {"instances": [[1, 2], [1, 2, 3]]},
        400,
        "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
        "Expecting tensor size: 2 but got: 3",
    ),
    "instances of two shapes": (
        "POST",
        PREDICT,
        {"instances": [[1, 2], [[1], [2]]]},
        400,
        "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [2] but got: [2,1]",
    ),
    "binary where numbers belong": (
        "POST",
        PREDICT,
        {"inputs": {"b64": "AAAA"}},
        400,
        'JSON Value: {\n    "b64": "AAAA"\n} Type: Object is not of expected type: uint8',
    ),
    "wrong shape": (
        "POST",
        PREDICT,
        {"inputs": [[0, 1]]},
        400,
        "Shape of tensor images [1,2] is not compatible with expected shape [?,28,28].",
    ),
    "wrong rank": (
        "POST",
        PREDICT,
        {"inputs": 1},
        400,
        "Shape of tensor images [] is not compatible with expected shape [?,28,28].",
    ),
}


IN_OUR_WORDS = ("classify", "too deep", "too deep for a tensor", "wrong shape", "wrong rank")
"""Of these TensorFlow Serving promises the code alone: its texts name its own operations, or it goes on to others."""


@pytest.mark.parametrize("situation", REFUSALS)
def test_a_refusal_has_tensorflow_servings_code_and_text(
    rest: str, situation: str, request: pytest.FixtureRequest
) -> None:
    method, path, body, code, text = REFUSALS[situation]
    if situation in IN_OUR_WORDS:
        request.getfixturevalue("embedded")
    answer = ask(rest, method, path, body)
    assert (answer[0], answer[2]) == (code, "application/json")
    told = json.loads(answer[1])
    assert list(told) == ["error"]
    if text:
        assert told["error"] == text


@pytest.mark.usefixtures("embedded")
def test_texts_are_not_cut_but_what_they_repeat_is(post, rest: str) -> None:
    name = "x" * 3000
    assert post({}, f"/v1/models/{name}:predict")[1]["error"] == f"Servable not found for request: Latest({name})"
    assert len(post({"instances": "x" * 5000})[1]["error"]) < 2000


def test_a_version_that_no_int64_holds_is_refused_without_words(rest: str, version: int) -> None:
    for too_large in (str(2**63), "9" * 5000):
        assert ask(rest, "GET", f"/v1/models/digits/versions/{too_large}")[:2] == (400, b"")
    assert ask(rest, "GET", f"/v1/models/digits/versions/{version:05000}")[0] == 200
    assert ask(rest, "GET", f"/v1/models/digits/versions/{2**63 - 1}")[0] == 404


@pytest.mark.parametrize(("origin", "code"), [({"Origin": "https://example.org"}, 200), ({}, 400)])
def test_options_wants_an_origin(rest: str, origin: dict[str, str], code: int) -> None:
    assert ask(rest, "OPTIONS", PREDICT, headers=origin)[:2] == (code, b"")


def test_outside_the_api_there_is_nothing(rest: str) -> None:
    assert ask(rest, "GET", "/v2/models")[0] == 404


def test_a_head_request_is_refused_without_a_body(rest: str) -> None:
    assert ask(rest, "HEAD", "/v1/models/digits")[:2] == (400, b"")


def test_status_and_metadata_are_the_official_messages_in_json(rest: str, address: str, version: int) -> None:
    def as_json(message: Any) -> Any:
        return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)

    spec, known = {"name": "digits"}, SignatureDefMap()
    with grpc.insecure_channel(address) as channel:
        status = ModelServiceStub(channel).GetModelStatus(GetModelStatusRequest(model_spec=spec), timeout=TIMEOUT)
        request = GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
        metadata = PredictionServiceStub(channel).GetModelMetadata(request, timeout=TIMEOUT)
    metadata.metadata["signature_def"].Unpack(known)
    for path in ("/v1/models/digits", "/v1/models/digits/labels/ignored"):
        assert json.loads(ask(rest, "GET", path)[1]) == as_json(status)
    [one] = json.loads(ask(rest, "GET", f"/v1/models/digits/versions/{version}")[1])["model_version_status"]
    assert one in as_json(status)["model_version_status"]
    wanted = {"model_spec": as_json(metadata.model_spec), "metadata": {"signature_def": as_json(known)}}
    assert json.loads(ask(rest, "GET", "/v1/models/digits/metadata")[1]) == wanted
    assert json.loads(ask(rest, "GET", f"/v1/models/digits/versions/{version}/metadata")[1]) == wanted


@pytest.mark.usefixtures("embedded")
def test_the_list_of_models_tells_the_state_of_each(rest: str) -> None:
    models = json.loads(ask(rest, "GET", "/v1/models")[1])["models"]
    assert [model["name"] for model in models] == ["digits", "A", "B"]
    assert {version["state"] for model in models for version in model["model_version_status"]} == {"AVAILABLE"}


def test_gzip_bodies_are_inflated_and_answers_are_plain(post) -> None:
    body = json.dumps({"instances": [BLANK]}).encode()
    assert post(gzip.compress(body), **{"Content-Encoding": "gzip"}) == post(body)


@pytest.mark.usefixtures("embedded")
def test_gzip_bodies_may_have_several_members(post) -> None:
    body = json.dumps({"instances": [BLANK]}).encode()
    parts = [body[start : start + 1000] for start in range(0, len(body), 1000)]
    assert len(parts) > 1
    assert post(b"".join(map(gzip.compress, parts)), **{"Content-Encoding": "gzip"}) == post(body)


BOMB = gzip.compress(bytes(101 << 20))
TOO_LONG = "Body larger than 67108864 bytes. Send fewer images at a time"
NOT_GZIP = "The body is not gzip, as Content-Encoding says: "


@pytest.mark.usefixtures("embedded")
@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (BOMB, 429, TOO_LONG),
        (gzip.compress(bytes(60 << 20)) * 2, 429, TOO_LONG),
        (b"{}", 400, NOT_GZIP),
        (BOMB[:5000], 400, f"{NOT_GZIP}it ends too early"),
        (gzip.compress(b"{}")[:-1] * 2, 400, NOT_GZIP),
        (gzip.compress(b"") * 17, 400, "The body has more than 16 gzip members"),
    ],
    ids=["a bomb", "two halves of a bomb", "no gzip", "half", "a half and another", "many members"],
)
def test_gzip_that_is_too_much_or_none_is_refused(post, body: bytes, code: int, text: str) -> None:
    got, answer = post(body, **{"Content-Encoding": "gzip"})
    assert (got, answer["error"][: len(text)]) == (code, text)
    assert post({"instances": [BLANK]})[0] == 200


@pytest.mark.usefixtures("embedded")
def test_a_body_that_says_it_is_too_long_is_refused_before_it_is_sent(rest: str) -> None:
    with socket.create_connection(rest.split(":"), TIMEOUT) as connection:
        connection.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {101 << 20}\r\n\r\n".encode())
        answer = connection.recv(10_000)
    assert answer.startswith(b"HTTP/1.1 429 ")


@pytest.mark.usefixtures("embedded")
def test_a_chunked_body_is_refused_when_it_gets_too_long(rest: str) -> None:
    chunk = b"%x\r\n" % (1 << 20) + bytes(1 << 20) + b"\r\n"
    with socket.create_connection(rest.split(":"), TIMEOUT) as connection:
        connection.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(101):
            connection.sendall(chunk)
        answer = connection.recv(10_000)
    assert answer.startswith(b"HTTP/1.1 429 ")


def test_one_connection_carries_many_requests_and_many_connections_are_served(rest: str) -> None:
    def ask_ten(_: int) -> list[int]:
        with closing(http.client.HTTPConnection(rest, timeout=TIMEOUT)) as connection:
            codes = []
            for _ in range(10):
                connection.request("POST", PREDICT, json.dumps({"instances": [BLANK]}))
                answer = connection.getresponse()
                answer.read()
                codes.append(answer.status)
            return codes

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(ask_ten, range(16))) == [[200] * 10] * 16


def test_damaged_bodies_get_a_documented_code_and_never_a_fault_of_the_server(rest: str, post) -> None:
    chance = random.Random(1)
    whole = json.dumps({"signature_name": "serving_default", "instances": [{"images": BLANK}]}).encode()
    codes = Counter()
    with closing(http.client.HTTPConnection(rest, timeout=TIMEOUT)) as connection:
        for _ in range(500):
            body = bytearray(whole)
            for _ in range(chance.randrange(1, 4)):
                body[chance.randrange(100 if chance.random() < 0.8 else len(body))] = chance.choice(b'"{}[],:0.e\\\xff')
            connection.request("POST", PREDICT, bytes(body[: chance.choice([len(body), chance.randrange(len(body))])]))
            answer = connection.getresponse()
            assert list(json.loads(answer.read())) == ["predictions" if answer.status == 200 else "error"]
            codes[answer.status] += 1
    assert set(codes) <= {200, 400, 404}
    assert codes[200] and codes[400]
    assert post({"instances": [BLANK]})[0] == 200


def test_malformed_http_is_refused_and_the_server_lives(rest: str, post) -> None:
    with socket.create_connection(rest.split(":"), TIMEOUT) as connection:
        connection.sendall(b"\x16\x03\x01\x02 what\r\n\r\n")
        assert connection.recv(10_000).startswith(b"HTTP/1.1 400 ")
    with socket.create_connection(rest.split(":"), TIMEOUT) as connection:  # leaves in the middle of its body
        connection.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode())
    assert post({"instances": [BLANK]})[0] == 200
