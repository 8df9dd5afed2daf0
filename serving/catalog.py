"""Every model that is served, and the thread in which each follows its folder."""

import os
import threading
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from client.contract import MODEL
from client.proto.config_pb2 import ModelConfig
from serving import config
from serving.complaints import Complaints
from serving.errors import ServingError, invalid, not_found, unknown_label
from serving.logs import Tell
from serving.model import Model
from serving.servable import Servable, Version
from serving.settings import Settings
from serving.sources import ConfigFile, ModelRoot, Source, join

HEAD_START = 1.0
"""Most seconds for which a poll of one model is waited for before the next model's begins beside it."""


class Catalog:
    """The served models, for any thread. A broken model or folder costs one line and never another model its service.

    Nothing that is served stops because a folder cannot be read or is gone (a mount that went away): only deleting
    versions or another configuration does that, as in TensorFlow Serving.
    """

    def __init__(self, source: Source, complaints: Complaints, log: Tell) -> None:
        self._source, self._asks_source = source, True
        self._complaints = complaints
        self._log = log
        self._models: config.Models = {}
        self._servables: dict[str, Servable] = {}
        self._configuring = threading.Lock()

    def poll(self, patience_seconds: float = HEAD_START) -> None:
        """Look for other models and versions, load and unload; what takes longer goes on in the background."""
        end = time.monotonic() + patience_seconds
        if not self._ask_source():
            return
        polls = []
        for servable in sorted(self._servables.values(), key=_promoted_first):
            if not (servable.busy or servable.idle):
                polls.append(self._begin_poll(servable))
                polls[-1].join(min(HEAD_START, max(0, end - time.monotonic())))
        join(polls, end - time.monotonic())

    def reload(self, configs: Iterable[ModelConfig], patience_seconds: float) -> None:
        """Serve these models and no others, and wait a while for those that are new.

        Raises ServingError, changing nothing, for configurations that cannot be followed; and UNKNOWN for new models
        that do not answer, of which other models and later reloads notice nothing.
        """
        with self._configuring:
            models = config.checked(configs, self._models)
            self._check_roots(models)
            self._check_labels(models)
            changed = [name for name in {**models, **self._models} if models.get(name) != self._models.get(name)]
            new = [name for name in changed if name not in self._models]
            self._configure(models)
            self._asks_source = self._source.outlives_reload
            self._log(f"a request has set the models: {', '.join(models) or 'none'}")
        polls = {name: self._begin_poll(self._servables[name]) for name in changed}
        join([polls[name] for name in new], patience_seconds)
        _check_served([self._servables[name] for name in new])

    def use(self, name: str, which: int | str | None = None) -> AbstractContextManager[tuple[int, Model]]:
        """Lend a model's version by number or label, the newest for None. Raises INVALID_ARGUMENT or NOT_FOUND."""
        if not name:
            raise invalid("ModelSpec has no name specified.")
        servable = self._servables.get(name)
        if servable is None:
            raise unknown_label(which) if isinstance(which, str) else not_found(name, which)
        return servable.use(which)

    def history(self, name: str) -> list[Version]:
        """Give every version ever met of a model, the newest first; empty for an unknown model."""
        servable = self._servables.get(name)
        return servable.history() if servable else []

    def names(self) -> list[str]:
        """Give the models that had a version at some time, `digits` first."""
        return [one.name for one in sorted(self._servables.values(), key=_promoted_first) if one.history()]

    def __contains__(self, name: str) -> bool:
        return name in self._servables

    def served(self) -> dict[str, Version]:
        """Give the version that answers for each model that has one, `digits` first."""
        found = {servable.name: servable.served for servable in sorted(self._servables.values(), key=_promoted_first)}
        return {name: version for name, version in found.items() if version}

    def _ask_source(self) -> bool:
        """Follow the source's list; False when it cannot be had, which leaves everything as it is."""
        before = self._models
        try:
            models = self._source.models(before) if self._asks_source else None  # may hang: no lock
        except OSError as error:
            self._complaints.say_unreadable("", error)
            return False
        with self._configuring:
            if models is not None and self._models is before:  # else a reload has come in between
                self._configure(models)
        return True

    def _configure(self, models: config.Models) -> None:
        self._models = models
        added = {name: Servable(name, self._log) for name in models if name not in self._servables}
        self._servables = {**self._servables, **added}  # a new one: readers take no lock
        for name, servable in self._servables.items():
            servable.configure(models.get(name))

    def _check_roots(self, models: config.Models) -> None:
        """Keep requests from reading folders that the operator has not opened to them; compares text only."""
        roots = [os.path.normpath(root.absolute()) for root in self._source.roots]
        for name, model in models.items():
            path = Path(os.path.normpath(model.base_path))
            if not any(path.is_relative_to(root) for root in roots):
                raise ServingError(
                    "PERMISSION_DENIED",
                    f"Model {name}: base path {model.base_path} is outside of what this server may serve "
                    f"({', '.join(sorted(set(roots)))})",
                )

    def _check_labels(self, models: config.Models) -> None:
        for name, model in models.items():
            for number in model.version_labels.values():
                if name not in self._servables or not self._servables[name].is_available(number):
                    raise ServingError(
                        "FAILED_PRECONDITION",
                        f"Request to assign label to version {number} of model {name}, "
                        "which is not currently available for inference",
                    )

    def _begin_poll(self, servable: Servable) -> threading.Thread:
        # A daemon: a folder on a dead mount may hold it for ever, and must not keep the process from ending.
        thread = threading.Thread(target=self._poll, args=(servable,), name=f"poll {servable.name}", daemon=True)
        thread.start()
        return thread

    def _poll(self, servable: Servable) -> None:
        try:
            servable.poll()
        except (OSError, ValueError) as error:  # no path can hold a null byte
            self._complaints.say_unreadable(servable.name, error)
        else:
            self._complaints.over(servable.name)
            self._say_lacking(servable)

    def _say_lacking(self, servable: Servable) -> None:
        subject = f"{servable.name} lacks"
        if servable.lacking:
            self._complaints.say(subject, f"warning: {servable.name}: {servable.lacking}")
        else:
            self._complaints.over(subject)


def open_catalog(settings: Settings) -> Catalog:
    """Make the catalog of the models that settings name. Raises DigitsError when these cannot be read."""
    complaints = Complaints(settings.log)
    source: Source
    if settings.config:
        source = ConfigFile(settings.config, complaints)
    else:
        source = ModelRoot(settings.models, complaints, settings.model_name)
    return Catalog(source, complaints, settings.log)


def _promoted_first(servable: Servable) -> tuple[bool, str]:
    return servable.name != MODEL, servable.name


def _check_served(servables: list[Servable]) -> None:
    """Raise the error of a reload for models that do not answer (ServerCore::WaitUntilModelsAvailable)."""
    failures = [f"{{{_failure(servable)}}}, " for servable in servables if not servable.served]
    if failures:
        message = f"{len(failures)} model(s) did not become available: {{{''.join(failures)}}}"
        raise ServingError("UNKNOWN", message)


def _failure(servable: Servable) -> str:
    if not servable.wanted:
        return f"{{name: {servable.name}}} due to error: CANCELLED: another request has taken it out"
    version = next(iter(servable.history()), None)
    if version is None:
        reason = "still being looked for" if servable.busy else servable.unreadable or "no version in its base path"
        return f"{{name: {servable.name}}} due to error: NOT_FOUND: {reason}"
    reason = f"{version.status}: {version.message}" if version.state == "END" else "DEADLINE_EXCEEDED: still loading"
    return f"{{name: {servable.name} version: {version.number}}} due to error: {reason}"
