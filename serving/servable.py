"""The versions of one model: those that its policy wants are loaded, and requests keep the one they began with.

The rules are TensorFlow Serving's (core/availability_preserving_policy.cc, core/basic_manager.cc): a version is loaded
and warmed beside the one that serves, then takes over, and the old one is freed once its last request is done. Two
differences, both for operators: a version that failed is tried again, at once when its files change, and while it is
broken the next lower one is loaded, so that a restart does not take down what a broken newest version left serving.
"""

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from client.proto.config_pb2 import ModelConfig, VersionPolicy
from serving import versions
from serving.errors import ServingError, not_found, reason
from serving.labels import Labels
from serving.logs import Tell
from serving.model import Model

State = Literal["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]

LONGEST_PAUSE = 60.0
"""Seconds between two tries of a version whose files do not change; the first pause is one second, then it doubles."""


@dataclass
class Version:
    """One version that was met: its state, and for a failed one the gRPC status name, the reason and its files."""

    number: int
    state: State = "START"
    status: str = "OK"
    message: str = ""
    files: versions.Files = frozenset()
    failures: int = 0
    try_again_at: float = 0.0
    model: Model | None = None
    users: int = 0


class Servable:
    """One model by name. `configure`, `poll` and the rest are for any thread; one poll is done at a time."""

    def __init__(self, name: str, log: Tell) -> None:
        self.name = name
        self._log = log
        self._lock = threading.Lock()
        self._polling = threading.Lock()
        self._config: ModelConfig | None = None
        self._followed: ModelConfig | None = None  # by the last poll
        self._on_disk: Mapping[int, Path] = {}
        self._met: dict[int, Version] = {}
        self._available: dict[int, Version] = {}
        self._labels = Labels()
        self._aside: set[int] = set()  # available for a label alone
        self.unreadable = ""
        """Why the last poll could not read its folder, if so."""

    def configure(self, config: ModelConfig | None) -> None:
        """Follow another configuration from the next poll on, its labels at once; None serves nothing any more."""
        with self._lock:
            if config is not None and config == self._config:
                return  # a poll under way follows it already
            self._config = config
            self._labels.want(config.version_labels if config else {}, self._available)
        if config is None:
            self._unload_others(set(), config)  # a poll may be under way, of a version that loads without end

    @property
    def wanted(self) -> bool:
        """Whether a configuration names it."""
        return self._config is not None

    @property
    def busy(self) -> bool:
        """Whether a poll is under way."""
        return self._polling.locked()

    @property
    def idle(self) -> bool:
        """Whether no configuration names it, the last poll knew that, and nothing is loaded."""
        return not (self._config or self._followed or self._available)

    @contextlib.contextmanager
    def use(self, which: int | str | None = None) -> Iterator[tuple[int, Model]]:
        """Lend a version by number or label, the newest for None, and keep it loaded meanwhile. Raises ServingError."""
        with self._lock:  # the label too: its version cannot be unloaded in between
            which = self._labels.version(which) if isinstance(which, str) else which
            version = self._available.get(self._newest() if which is None else which)
            if version is None or version.model is None:
                raise not_found(self.name, which)
            version.users += 1
        try:
            yield version.number, version.model
        finally:
            with self._lock:
                version.users -= 1
                was_last = version.state == "UNLOADING" and version.users == 0
            if was_last:
                self._end(version)

    @property
    def served(self) -> Version | None:
        """The version that answers when none is asked for."""
        with self._lock:
            return self._available.get(self._newest())

    @property
    def lacking(self) -> str:
        """What the configuration names and does not get, for the operator; empty when nothing."""
        with self._lock:
            config, waiting = self._config, self._labels.waiting
        if not config:
            return ""
        if not self._on_disk:
            return f"no version in {config.base_path}"
        named = {*config.model_version_policy.specific.versions, *config.version_labels.values()}
        missing = ", ".join(str(number) for number in sorted(named) if number not in self._on_disk)
        if missing:
            return f"no version {missing} in {config.base_path}, as its configuration wants"
        return ", ".join(
            f"label {label} stays with version {number} until version {wanted} is available"
            for label, (number, wanted) in waiting.items()
        )

    def is_available(self, number: int) -> bool:
        """Tell whether a version answers now."""
        with self._lock:
            return number in self._available

    def history(self) -> list[Version]:
        """Give every version ever met, the newest first."""
        with self._lock:
            return [self._met[number] for number in sorted(self._met, reverse=True)]

    def poll(self) -> None:
        """Bring what is loaded in line with what is wanted. Raises OSError, changing nothing, for a bad folder."""
        with self._polling:
            config = self._followed = self._config
            on_disk = self._on_disk = self._look(config) if config else {}
            self._forgive_removed(on_disk)
            wanted, count = _aspired(on_disk, config.model_version_policy) if config else ({}, 0)
            ready = self._make_ready(wanted, count)
            if wanted and not ready:
                return  # nothing there can be served: what is loaded keeps answering
            self._unload_others(ready, config)

    def _look(self, config: ModelConfig) -> dict[int, Path]:
        self.unreadable = ""
        try:
            return versions.list_versions(Path(config.base_path))
        except (OSError, ValueError) as error:  # no path can hold a null byte
            self.unreadable = reason(error)
            raise

    def _forgive_removed(self, on_disk: dict[int, Path]) -> None:
        for number, version in self._met.items():
            if number not in on_disk:
                version.files = frozenset()

    def _make_ready(self, wanted: Mapping[int, Path], count: int) -> set[int]:
        """Load versions, the highest first, until so many are available."""
        ready: set[int] = set()
        for number in sorted(wanted, reverse=True):
            if len(ready) < count and self._is_ready(number, wanted[number]):
                ready.add(number)
        return ready

    def _is_ready(self, number: int, path: Path) -> bool:
        """Tell whether a version is available, after trying to load it if it is new or may be tried again."""
        if number in self._available:
            return True
        failed, files = self._met.get(number), versions.files(path)
        unchanged = failed is not None and failed.files == files
        if failed and unchanged and time.monotonic() < failed.try_again_at:
            return False
        version = Version(number, files=files, failures=failed.failures if failed and unchanged else 0)
        return self._load(version, path)

    def _load(self, version: Version, path: Path) -> bool:
        with self._lock:
            self._met[version.number] = version
        version.state = "LOADING"
        start = time.perf_counter()
        try:
            model = Model(path)
        except Exception as error:  # whatever a broken version raises, the others go on
            self._fail(version, error)
            return False
        because = f", because {model.fallback_reason}" if model.fallback_reason else ""
        with self._lock:
            version.model, version.state, version.files = model, "AVAILABLE", frozenset()
            self._available[version.number] = version
            self._labels.move(self._available)
        seconds = time.perf_counter() - start
        self._log(f"{self.name}/{version.number}: serving with {model.engine}{because} (loaded in {seconds:.2f} s)")
        return True

    def _fail(self, version: Version, error: Exception) -> None:
        version.status = error.status if isinstance(error, ServingError) else "UNKNOWN"
        version.message = reason(error)
        version.try_again_at = time.monotonic() + min(2.0**version.failures, LONGEST_PAUSE)
        version.failures += 1
        version.state = "END"
        if version.failures > 1:
            return  # that it goes on failing is no news
        served = self.served
        kept = f"{self.name}/{served.number} keeps serving, " if served else ""
        self._log(
            f"error: {self.name}/{version.number}: not served: {' '.join(version.message.split())} "
            f"({kept}tried again, at once when its files change)"
        )

    def _newest(self) -> int:
        """Give the version that answers when none is asked for, -1 for none; needs the lock."""
        return max(self._available.keys() - self._aside or self._available, default=-1)

    def _unload_others(self, ready: set[int], config: ModelConfig | None) -> None:
        with self._lock:
            if config is not self._config:
                return  # the next poll knows what to keep now
            kept = {*ready, *(number for number, _ in self._labels.waiting.values())}
            self._aside = kept - ready
            others = [version for number, version in self._available.items() if number not in kept]
            for version in others:
                version.state = "UNLOADING"
                del self._available[version.number]
            idle = [version for version in others if version.users == 0]
        for version in idle:
            self._end(version)

    def _end(self, version: Version) -> None:
        """Free a version that nobody uses any more; called exactly once for each."""
        if version.model:
            version.model.close()
        version.model, version.state = None, "END"
        self._log(f"{self.name}/{version.number}: unloaded")


def _aspired(on_disk: dict[int, Path], policy: VersionPolicy) -> tuple[dict[int, Path], int]:
    """Give the versions that a policy may serve, and how many of them at a time (num_versions 0 is 1)."""
    match policy.WhichOneof("policy_choice"):
        case "all":
            return on_disk, len(on_disk)
        case "specific":
            listed = {number: path for number, path in on_disk.items() if number in policy.specific.versions}
            return listed, len(listed)
        case _:
            return on_disk, max(policy.latest.num_versions, 1)
