"""Fuzzed gRPC requests against a running server, some in flight at a time: see benchmarks/fuzz.py."""

import random
import socket
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress

import grpc
import numpy as np

from client.contract import MODEL_SERVICE
from client.proto.config_pb2 import ReloadConfigRequest
from client.proto.serving_pb2 import GetModelMetadataRequest, GetModelStatusRequest, PredictRequest, PredictResponse
from client.proto.tensor_pb2 import DataType, TensorProto
from client.questions import METADATA, PREDICT, STATUS

RELOAD = f"/{MODEL_SERVICE}/HandleReloadConfigRequest"
DOCUMENTED = {
    PREDICT: {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"},
    METADATA: {"OK", "INVALID_ARGUMENT", "NOT_FOUND"},
    STATUS: {"OK", "INVALID_ARGUMENT", "NOT_FOUND"},
    RELOAD: {"INVALID_ARGUMENT", "PERMISSION_DENIED", "FAILED_PRECONDITION"},
}
UNDECODABLE = ("INTERNAL", "Exception deserializing request!")
BUSY = ("RESOURCE_EXHAUSTED", "Concurrent RPC limit exceeded!")
"""gRPC's own words at the limit of threads. It counts a call until its thread has ended, which on a busy core comes so
long after the answer that 32 calls in flight have counted as 104."""
IN_FLIGHT = 32
NAMES = ("digits", "A", "", "x", "../../etc", "\0", "digits/1", "é" * 600)
Fuzz = tuple[str, bytes]


class Surprise(Exception):
    """The server gave an answer that it must not give."""


def requests(seed: int) -> Iterator[Fuzz]:
    """Make requests without end, the same for a seed."""
    chance = random.Random(seed)
    kinds = [_random_bytes, _mutated, _strange_tensor, _strange_tensor, _strange_spec, _question, _reload]
    while True:
        yield chance.choice(kinds)(chance)


def _good(count: int = 1) -> PredictRequest:
    request = PredictRequest()
    request.model_spec.name = "digits"
    request.inputs["images"].CopyFrom(_tensor([count, 28, 28], bytes(784 * count)))
    return request


def _tensor(shape: list[int], content: bytes, dtype: int = DataType.DT_UINT8) -> TensorProto:
    tensor = TensorProto(dtype=DataType.Name(dtype), tensor_content=content)
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


def _random_bytes(chance: random.Random) -> Fuzz:
    return chance.choice([PREDICT, METADATA, STATUS]), chance.randbytes(chance.randrange(200))


def _mutated(chance: random.Random) -> Fuzz:
    content = bytearray(_good(chance.randrange(1, 4)).SerializeToString())
    for _ in range(chance.randrange(1, 8)):
        if not content:
            break
        at = chance.randrange(min(len(content), chance.choice([60, len(content)])))  # most matter at the front
        match chance.randrange(4):
            case 0:
                content[at] ^= 1 << chance.randrange(8)
            case 1:
                content[at : at + 1] = chance.randbytes(chance.randrange(5))
            case 2:
                del content[at : at + chance.randrange(1, 20)]
            case 3:
                del content[max(at, 1) :]
    return PREDICT, bytes(content)


def _strange_tensor(chance: random.Random) -> Fuzz:
    sizes = [0, 1, 2, 27, 28, 29, 784, -1, 2**31, 2**40, 2**63 - 1, -(2**63)]
    shape = chance.choices(sizes, k=chance.randrange(6)) if chance.random() < 0.7 else [1, 28, 28]
    dtype = chance.choice(list(DataType.values())) if chance.random() < 0.5 else DataType.DT_UINT8
    content = chance.randbytes(chance.choice([0, 1, 783, 784, 785, 3136]))
    tensor = _tensor(shape, content, dtype)
    if chance.random() < 0.5:
        tensor.ClearField("tensor_content")
        tensor.int_val.extend(chance.choices([0, 1, 255, 256, -1, 2**31 - 1], k=chance.choice([0, 1, 784, 1000])))
    tensor.tensor_shape.unknown_rank = chance.random() < 0.1
    request = _good()
    request.inputs[chance.choice(["images", "images", "row", "x", ""])].CopyFrom(tensor)
    if chance.random() < 0.3:
        request.model_spec.signature_name = "benchmark"
    return PREDICT, request.SerializeToString()


def _strange_spec(chance: random.Random) -> Fuzz:
    request = _good()
    request.model_spec.name = chance.choice(NAMES)
    request.model_spec.signature_name = chance.choice(
        ["", "", "serving_default", "benchmark", "x", "__saved_model_init_op"]
    )
    if chance.random() < 0.3:
        request.model_spec.version.value = chance.choice([0, 1, -1, 2**63 - 1])
    elif chance.random() < 0.3:
        request.model_spec.version_label = chance.choice(NAMES)
    request.output_filter.extend(chance.choices(["digit", "probabilities", "x", ""], k=chance.randrange(4)))
    return PREDICT, request.SerializeToString()


def _question(chance: random.Random) -> Fuzz:
    asked = chance.choice([GetModelMetadataRequest(), GetModelStatusRequest()])
    asked.model_spec.name = chance.choice(NAMES)
    if chance.random() < 0.3:
        asked.model_spec.version.value = chance.choice([0, 1, -1, 2**63 - 1])
    if isinstance(asked, GetModelStatusRequest):
        return STATUS, asked.SerializeToString()
    asked.metadata_field.extend(chance.choices(["signature_def", "x", ""], k=chance.randrange(3)))
    return METADATA, asked.SerializeToString()


def _reload(chance: random.Random) -> Fuzz:
    """Ask for folders that nobody has opened, so that the server must refuse."""
    request = ReloadConfigRequest()
    for _ in range(chance.randrange(1, 4)):
        path = chance.choice(["/etc", "/", "../models", "", "/proc/self", "\0", "gs://bucket/x", "/" + "x" * 5000])
        platform = chance.choice(["tensorflow", "tensorflow", "", "x"])
        request.config.model_config_list.config.add(name=chance.choice(NAMES), base_path=path, model_platform=platform)
    return RELOAD, request.SerializeToString()


def run(address: str, count: int, seed: int = 0) -> Counter[str]:
    """Send so many requests, some in flight at a time, and count the statuses. Raises Surprise."""
    host, port = address.rsplit(":", 1)
    seen: Counter[str] = Counter()
    with grpc.insecure_channel(address) as channel:
        right = channel.unary_unary(PREDICT)(_image(), timeout=30)
        under_way: deque[tuple[Fuzz, grpc.Future]] = deque()
        for number, (method, content) in zip(range(count), requests(seed), strict=False):
            under_way.append(((method, content), channel.unary_unary(method).future(content, timeout=60)))
            if len(under_way) >= IN_FLIGHT:
                seen[_outcome(*under_way.popleft())] += 1
            if number % 500 == 0:
                _broken_connection(host, int(port), random.Random(number))
                _check_right(channel.unary_unary(PREDICT)(_image(), timeout=30), right)
        seen.update(_outcome(*left) for left in under_way)
        _check_right(channel.unary_unary(PREDICT)(_image(), timeout=30), right)
    return seen


def _image() -> bytes:
    request = _good()
    request.inputs["images"].tensor_content = np.arange(784, dtype=np.uint8).tobytes()
    return request.SerializeToString()


def _check_right(answer: bytes, right: bytes) -> None:
    if PredictResponse.FromString(answer) != PredictResponse.FromString(right):
        raise Surprise("a good request is answered differently than at the beginning")


def _outcome(fuzz: Fuzz, call: "grpc.Future") -> str:
    method, content = fuzz
    error = call.exception()
    status, text = (error.code().name, error.details()) if error else ("OK", "")
    if status in DOCUMENTED[method] or (status, text) in (UNDECODABLE, BUSY):
        return status
    raise Surprise(f"{method} answered {status} ({text}) to {content.hex()}")


def _broken_connection(host: str, port: int, chance: random.Random) -> None:
    """Leave a connection in the middle: garbage, or an HTTP/2 or HTTP/1 message cut short."""
    starts = [b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: 9999\r\n\r\n"]
    with suppress(OSError), socket.create_connection((host, port), 5) as connection:
        connection.sendall(chance.choice(starts) + chance.randbytes(chance.randrange(300)))
