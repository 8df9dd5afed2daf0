"""What the server answers, free of any protocol: gRPC and REST only translate.

Texts and their order are TensorFlow Serving's: servables/tensorflow/predict_impl.cc, get_model_metadata_impl.cc and
model_servers/get_model_status_impl.cc, model_service_impl.cc.
"""

import math
import time
from collections.abc import Callable, Mapping

from client.console import usable_cores
from client.contract import BENCHMARK_SIGNATURE, SIGNATURE_DEF_MAP_TYPE_URL
from client.proto.config_pb2 import ReloadConfigRequest, ReloadConfigResponse
from client.proto.serving_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelSpec,
    ModelVersionStatus,
    PredictRequest,
    PredictResponse,
    SignatureDefMap,
    StatusProto,
)
from client.tensors import Array, put_values
from serving.catalog import Catalog
from serving.errors import STATUSES, ServingError, invalid
from serving.limits import Admission, Backlog, Budget, Limits
from serving.litert import BULK_AT_A_TIME
from serving.servable import Version
from serving.signatures import Signatures

SIGNATURE_DEF = "signature_def"
RELOAD_SECONDS = 30.0
MOST_RELOADS = 4
"""Each may wait for its models, and holds a thread meanwhile."""


class Dataplane:
    """The methods of PredictionService and ModelService. Each raises ServingError; safe under concurrent calls.

    `ran` is told of each run of an engine: the model, the engine, how many rows it gave, and the seconds.
    """

    def __init__(self, catalog: Catalog, limits: Limits, ran: Callable[[str, str, int, float], None]) -> None:
        self._catalog, self._limits, self._ran = catalog, limits, ran
        self._predicts, self._reloads = Admission(limits.in_flight), Admission(MOST_RELOADS)
        self._backlog = Backlog(limits.wait_seconds, min(BULK_AT_A_TIME, usable_cores()))

    @property
    def rows_waiting(self) -> int:
        """How many images or rows are let in and not computed yet."""
        return self._backlog.rows

    def predict(
        self,
        request: PredictRequest,
        seconds_left: float | None = None,
        *,
        read: Callable[[], None] = lambda: None,
        complete: Callable[[Signatures], None] = lambda signatures: None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> PredictResponse:
        """Run a signature of a model; the answer's spec tells the version and signature that were used.

        After `seconds_left`, or when it is not `wanted`, nobody waits for the answer any more: DEADLINE_EXCEEDED,
        CANCELLED. Past a limit: RESOURCE_EXHAUSTED.
        A request that is let in may still be empty: `read` fills it in, and `complete` its tensors, once the version's
        signatures are known (REST's have no types).
        """
        until = math.inf if seconds_left is None else time.monotonic() + seconds_left
        with self._predicts:
            read()
            return self._predict(request, Budget(self._limits.images, until, wanted), complete)

    def _predict(
        self, request: PredictRequest, budget: Budget, complete: Callable[[Signatures], None]
    ) -> PredictResponse:
        name, which = _resolve(request)
        with self._catalog.use(name, which) as (number, model):
            complete(model.signatures)
            start = time.perf_counter()
            with self._backlog.turn(min(_count_asked(request), self._limits.images)):
                signature, outputs = model.predict(request, budget)
            self._ran(name, model.engine, _count_rows(outputs), time.perf_counter() - start)
        response = PredictResponse()
        spec = response.model_spec
        spec.name, spec.signature_name, spec.version.value = name, signature, number
        for alias, array in outputs.items():
            put_values(array, response.outputs[alias])
        return response

    def get_model_metadata(self, request: GetModelMetadataRequest) -> GetModelMetadataResponse:
        """Give all signatures of a model as they are in its saved_model.pb."""
        _require_spec(request)
        _check_fields(list(request.metadata_field))
        name, which = _resolve(request)
        with self._catalog.use(name, which) as (number, model):
            signatures = SignatureDefMap(signature_def=model.signatures)
        response = GetModelMetadataResponse(model_spec=ModelSpec(name=name))
        response.model_spec.version.value = number
        entry = response.metadata[SIGNATURE_DEF]
        entry.type_url, entry.value = SIGNATURE_DEF_MAP_TYPE_URL, signatures.SerializeToString()
        return response

    def get_model_status(self, request: GetModelStatusRequest) -> GetModelStatusResponse:
        """Tell the state of one version, or of all that were ever met, the newest first. Labels are ignored."""
        _require_spec(request)
        spec = request.model_spec
        met = self._catalog.history(spec.name)
        if spec.HasField("version"):
            met = [version for version in met if version.number == spec.version.value]
        if not met:
            what = f"version {spec.version.value}" if spec.HasField("version") else "any versions"
            raise ServingError("NOT_FOUND", f"Could not find {what} of model {spec.name}")
        return GetModelStatusResponse(model_version_status=[_status(version) for version in met])

    def list_models(self) -> dict[str, GetModelStatusResponse]:
        """Tell the state of all versions of all models; ours, TensorFlow Serving has no list of models."""
        names = self._catalog.names()
        return {name: self.get_model_status(GetModelStatusRequest(model_spec=ModelSpec(name=name))) for name in names}

    def reload_config(self, request: ReloadConfigRequest, seconds_left: float | None) -> ReloadConfigResponse:
        """Serve the models of a request and no others, and wait for the new ones, at most 30 seconds.

        TensorFlow Serving waits without end, and a bad model holds up every later reload (serving#2189).
        """
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        patience = RELOAD_SECONDS if seconds_left is None else min(seconds_left * 0.9, RELOAD_SECONDS)
        with self._reloads:
            self._catalog.reload(request.config.model_config_list.config, patience)
        return ReloadConfigResponse(status=StatusProto())


def _count_asked(request: PredictRequest) -> int:
    """Give how many rows a request says that it holds to compute, before anything of it is checked.

    Zero for the results table, whose rows cost nothing; at least one for any other.
    """
    if request.model_spec.signature_name == BENCHMARK_SIGNATURE:
        return 0
    return max([1, *(t.tensor_shape.dim[0].size for t in request.inputs.values() if t.tensor_shape.dim)])


def _count_rows(outputs: Mapping[str, Array]) -> int:
    return max([1, *(len(array) for array in outputs.values() if array.ndim)])


def _require_spec(request: PredictRequest | GetModelMetadataRequest | GetModelStatusRequest) -> None:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")


def _resolve(request: PredictRequest | GetModelMetadataRequest) -> tuple[str, int | str | None]:
    """Give the model's name and the version or label that is asked for, None for the newest."""
    _require_spec(request)
    spec = request.model_spec
    match spec.WhichOneof("version_choice"):
        case "version":
            return spec.name, spec.version.value
        case "version_label":
            return spec.name, spec.version_label
        case _:
            return spec.name, None


def _check_fields(fields: list[str]) -> None:
    if not fields:
        raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for field in fields:
        if field != SIGNATURE_DEF:
            raise invalid(f"Metadata field {field} is not supported")


def _status(version: Version) -> ModelVersionStatus:
    health = StatusProto(error_code=STATUSES.index(version.status), error_message=version.message)
    return ModelVersionStatus(version=version.number, state=version.state, status=health)
