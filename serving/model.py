"""One loaded version of a model: its signatures, its engine, and the warm-up that proves it answers."""

import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from google.protobuf.message import DecodeError

from client.proto.serving_pb2 import PredictionLog, PredictRequest
from client.proto.tensor_pb2 import SavedModel, SignatureDef
from client.tensors import Array
from serving import signatures, versions
from serving.engine import Engine
from serving.errors import ServingError
from serving.limits import BOUNDLESS, Budget
from serving.litert import LiteRTEngine, why_not
from serving.session import SessionEngine
from serving.signatures import Signature

TAG = "serve"

SETTLED_SECONDS = 1.0
"""So long after the last change of its files nobody seems to be copying a version any more."""


class Model:
    """A version that is loaded and has answered its warm-up requests; safe under concurrent calls.

    `engine` is the name of what computes, and `fallback_reason` says why that is not LiteRT, if so. Raises
    ServingError, or what the engine raises, when the version cannot be served; then nothing stays open.
    """

    def __init__(self, version_dir: Path) -> None:
        self.signatures: Mapping[str, SignatureDef] = read_signatures(version_dir)
        self._signatures = {name: Signature(definition) for name, definition in self.signatures.items()}
        self._engine, self.fallback_reason = _open_engine(version_dir, self.signatures)
        self.engine = self._engine.name
        try:
            for request in read_warmup(version_dir / versions.WARMUP_FILE):
                self.predict(request)
        except Exception:
            self.close()
            raise

    def predict(self, request: PredictRequest, budget: Budget = BOUNDLESS) -> tuple[str, dict[str, Array]]:
        """Give the resolved signature name and the outputs. Raises ServingError."""
        name, signature = signatures.find(self._signatures, request.model_spec.signature_name)
        given = signatures.decode_inputs(signature, request.inputs)
        outputs = signatures.select_outputs(signature, request.output_filter)
        inputs = signatures.check_inputs(signature, given)
        budget.check_rows(max([0, *(len(array) for array in inputs.values() if array.ndim)]))
        budget.check_time()
        return name, self._engine.run(name, inputs, outputs, budget)

    def close(self) -> None:
        """Free the engine; no call may be running."""
        self._engine.close()


def _open_engine(version_dir: Path, definitions: Mapping[str, SignatureDef]) -> tuple[Engine, str]:
    """Open LiteRT if it may serve a version, else the session; then say why (an empty string for LiteRT).

    Raises ServingError when there is no engine, and whatever the engine raises for files that it cannot load.
    """
    reason = why_not(version_dir, definitions)
    if reason:
        _wait_until_settled(version_dir)
        read_signatures(version_dir)  # raises for one that was deleted meanwhile: not worth the 570 MB of TensorFlow
        reason = why_not(version_dir, definitions)
    if not reason:
        return LiteRTEngine(version_dir), ""
    try:
        return SessionEngine(version_dir, definitions), reason
    except ModuleNotFoundError:
        raise ServingError(
            "FAILED_PRECONDITION",
            f"{reason}, and TensorFlow, which can serve it without, is not installed. "
            "Export it again with 'digits train', or: pip install 'mnist-digits[training]'",
        ) from None


def _wait_until_settled(version_dir: Path) -> None:
    """Wait for the rest of a version that is copied file by file; for ten seconds, should other clocks be ahead."""
    for _ in range(100):
        changed = max((changed for *_, changed in versions.files(version_dir)), default=0) / 1e9
        if time.time() - changed > SETTLED_SECONDS:
            return
        time.sleep(0.1)


def read_signatures(version_dir: Path) -> dict[str, SignatureDef]:
    """Read all signatures of the graph with the tag `serve`, as they are in saved_model.pb.

    Raises ServingError with the texts of tensorflow_serving/session_bundle/oss/session_bundle_util.cc.
    """
    path = version_dir / versions.GRAPH_FILE
    try:
        saved_model = SavedModel.FromString(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise ServingError(
            "NOT_FOUND",
            "Specified file path does not appear to contain a SavedModel bundle "
            f"(should have a file called `{versions.GRAPH_FILE}`)\nSpecified file path: {version_dir}",
        ) from None
    except DecodeError:
        raise ServingError("DATA_LOSS", f"{path} is not a SavedModel, or was cut short") from None
    for graph in saved_model.meta_graphs:
        if list(graph.meta_info_def.tags) == [TAG]:
            return dict(graph.signature_def)
    raise ServingError("NOT_FOUND", f"Could not find meta graph def matching supplied tags: {{ {TAG} }}")


def read_warmup(path: Path) -> Iterator[PredictRequest]:
    """Read the requests of a warm-up file (TFRecord of PredictionLog); a version without the file has none.

    A record is: uint64 length, uint32 checksum of it, the bytes, uint32 checksum of them. The checksums are not looked
    at: a damaged request fails as a request.
    """
    content = path.read_bytes() if path.exists() else b""
    start = 0
    while start < len(content):
        try:
            (length,) = struct.unpack_from("<Q", content, start)
            end = start + 12 + length
            struct.unpack_from("<I", content, end)
            yield PredictionLog.FromString(content[start + 12 : end]).predict_log.request
        except (struct.error, DecodeError, OverflowError):
            raise ServingError("DATA_LOSS", f"{path} is not a TFRecord of requests, or was cut short") from None
        start = end + 4
