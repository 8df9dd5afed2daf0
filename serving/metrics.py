"""Counters, gauges and histograms in Prometheus' text form.

By hand, because prometheus_client puts `_total` behind a counter's name, and TensorFlow Serving's names are fixed.
"""

import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


Labels = Mapping[str, str]


class Metric(Protocol):
    """What `render` can print."""

    def lines(self, common: Labels) -> list[str]:
        """Give the metric's lines, its TYPE first; the common labels are on each."""


class Values:
    """A counter or gauge: one number for each combination of labels that was met; for any thread."""

    def __init__(self, kind: str, name: str, help_text: str, *labels: str) -> None:
        self._head, self._name, self._labels = _head(kind, name, help_text), name, labels
        self._values: dict[tuple[str, ...], float] = {}
        self._lock = threading.Lock()

    def add(self, amount: float, *labels: str) -> None:
        """Add to the number of these labels."""
        with self._lock:
            self._values[labels] = self._values.get(labels, 0) + amount

    def replace(self, values: Mapping[tuple[str, ...], float]) -> None:
        """Forget all numbers and take these."""
        with self._lock:
            self._values = dict(values)

    def lines(self, common: Labels) -> list[str]:
        """Give the metric's lines, its TYPE first; the common labels are on each."""
        with self._lock:
            values = sorted(self._values.items())
        return self._head + [
            f"{self._name}{_braced(common, self._labels, labels)} {_written(value)}" for labels, value in values
        ]


class Histogram:
    """Counts values by size for each combination of labels that was met; for any thread."""

    def __init__(self, name: str, help_text: str, limits: Sequence[float], *labels: str) -> None:
        self._head, self._name, self._labels = _head("histogram", name, help_text), name, labels
        self._limits = limits
        self._series: dict[tuple[str, ...], _Series] = {}
        self._lock = threading.Lock()

    def observe(self, value: float, *labels: str) -> None:
        """Count a value."""
        with self._lock:
            series = self._series.get(labels)
            if series is None:
                series = self._series[labels] = _Series([0] * (len(self._limits) + 1))
            series.counts[bisect_left(self._limits, value)] += 1
            series.total += value

    def lines(self, common: Labels) -> list[str]:
        """Give the metric's lines, its TYPE first; the common labels are on each."""
        with self._lock:
            found = [(labels, list(one.counts), one.total) for labels, one in sorted(self._series.items())]
        return self._head + [line for one in found for line in self._lines(common, *one)]

    def _lines(self, common: Labels, labels: tuple[str, ...], counts: list[int], total: float) -> Iterator[str]:
        limits = [*(f"{limit:g}" for limit in self._limits), "+Inf"]
        for limit, count in zip(limits, accumulate(counts), strict=True):
            yield f"{self._name}_bucket{_braced(common, (*self._labels, 'le'), (*labels, limit))} {count}"
        braced = _braced(common, self._labels, labels)
        yield f"{self._name}_sum{braced} {total:.15g}"
        yield f"{self._name}_count{braced} {sum(counts)}"


@dataclass(slots=True)
class _Series:
    counts: list[int]
    total: float = 0.0


def render(metrics: Iterable[Metric], common: Labels) -> str:
    """Give the page that Prometheus reads; the common labels are on every sample."""
    return "".join(f"{line}\n" for metric in metrics for line in metric.lines(common))


def _head(kind: str, name: str, help_text: str) -> list[str]:
    return [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]


def _written(value: float) -> str:
    """Write a number; versions are integers, often timestamps: 16 digits in microseconds."""
    return str(value) if isinstance(value, int) else f"{value:.15g}"


def _braced(common: Labels, names: Sequence[str], values: Sequence[str]) -> str:
    labels = [*common.items(), *zip(names, values, strict=True)]
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
