"""Sees every request: counts and times it, logs it at level debug, and turns a fault of ours into INTERNAL.

Names and labels are TensorFlow Serving's where it has them (tensorflow_serving/servables/tensorflow/util.cc, written as
in tensorflow_serving/util/prometheus_exporter.cc); those that begin with `digits_` are ours.
"""

import time
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from client.contract import IMAGES
from client.proto.serving_pb2 import ModelSpec, PredictRequest
from serving.catalog import Catalog
from serving.errors import ServingError
from serving.logs import Log
from serving.metrics import Histogram, Values, render

LATENCY_LIMITS = [10 * 1.8**power for power in range(33)]
"""Microseconds, up to about 20 minutes: TensorFlow Serving's buckets."""
SIZE_LIMITS = [2**power for power in range(15)]

Response = TypeVar("Response")


class Monitor:
    """Knows what the server did and does; for any thread. Models that are not there share one name in the metrics.

    One process of several has its number in the label `process` of everything that it counts.
    """

    def __init__(self, catalog: Catalog, log: Log, process: int | None = None) -> None:
        self._catalog, self._log = catalog, log
        self._common = {} if process is None else {"process": str(process)}
        served_by = "model_name", "API"
        self._count = Values(
            "counter", ":tensorflow:serving:request_count", "Predict requests.", "model_name", "status"
        )
        self._latency = Histogram(
            ":tensorflow:serving:request_latency",
            "Microseconds until the answer, when it was no error.",
            LATENCY_LIMITS,
            *served_by,
            "entrypoint",
        )
        self._runtime = Histogram(
            ":tensorflow:serving:runtime_latency", "Microseconds in the engine.", LATENCY_LIMITS, *served_by, "runtime"
        )
        self._rows = Histogram("digits_batch_size", "Images or rows in a request.", SIZE_LIMITS, "model_name")
        self._in_flight = Values("gauge", "digits_requests_in_flight", "Requests being answered.", "entrypoint")
        self._waiting = Values("gauge", "digits_rows_waiting", "Images or rows let in and not computed yet.")
        self._version = Values("gauge", "digits_served_version", "The version that answers.", "model_name")

    def watched(self, entrypoint: str, method: str, answer: Callable[..., Response]) -> Callable[..., Response]:
        """Give a function that answers requests, watched. It raises nothing but ServingError.

        `entrypoint` is GRPC or REST, and `method` the name that the method has there.
        """

        def watch(request: Any, *rest: Any) -> Response:
            start, status, response = time.perf_counter(), "OK", None
            self._in_flight.add(1, entrypoint)
            try:
                response = answer(request, *rest)
            except ServingError as error:
                status = error.status
                raise
            except Exception as error:
                status = "INTERNAL"
                raise self.fault(error) from None
            finally:
                self._in_flight.add(-1, entrypoint)
                self._record(entrypoint, method, request, response, status, time.perf_counter() - start)
            return response

        return watch

    def fault(self, error: Exception) -> ServingError:
        """Make the answer to a fault of ours: the caller learns little, the operator everything."""
        self._log(f"error: {''.join(traceback.format_exception(error)).strip()}")
        return ServingError("INTERNAL", f"Fault in the server: {type(error).__name__}. See its log.")

    def _record(self, entrypoint: str, method: str, request: Any, response: Any, status: str, seconds: float) -> None:
        if isinstance(request, PredictRequest):
            name = request.model_spec.name
            known = name if name in self._catalog else ""
            self._count.add(1, known, status)
            if status == "OK":
                self._latency.observe(seconds * 1e6, known, method, entrypoint)
        if self._log.debugs:
            asked = getattr(request, "model_spec", None) or ModelSpec()
            spec = getattr(response, "model_spec", asked)
            self._log.request(
                entrypoint,
                method,
                model=asked.name or None,
                version=spec.version.value if spec.HasField("version") else None,
                images=_count_images(request),
                milliseconds=round(seconds * 1e3, 3),
                status=status,
            )

    def ran(self, model: str, engine: str, rows: int, seconds: float) -> None:
        """Count a run of an engine, over so many images or rows of the results table."""
        self._runtime.observe(seconds * 1e6, model, "Predict", engine)
        self._rows.observe(rows, model)

    def page(self, rows_waiting: int) -> str:
        """Give the metrics in Prometheus' text form."""
        self._waiting.replace({(): rows_waiting})
        served = self._catalog.served()
        self._version.replace({(name,): version.number for name, version in served.items()})
        histograms, gauges = [self._latency, self._runtime, self._rows], [self._in_flight, self._waiting, self._version]
        return render([self._count, *histograms, *gauges], self._common)


def _count_images(request: Any) -> int | None:
    """Give how many images a request holds, if it is one that holds images."""
    if not isinstance(request, PredictRequest) or IMAGES not in request.inputs:
        return None
    sizes = request.inputs[IMAGES].tensor_shape.dim
    return max(0, sizes[0].size) if sizes else None
