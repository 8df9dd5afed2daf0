"""Every model under the model root: each sub-folder that holds versions is served under its name."""

import os
from contextlib import AbstractContextManager
from pathlib import Path

from client.contract import MODEL
from serving import versions
from serving.errors import invalid
from serving.model import Model
from serving.servable import Log, Servable, Version, not_found


class Catalog:
    """The served models. A broken model or folder costs one line and never another model its service.

    `poll` is for one thread, everything else for any. Nothing that is served stops because a folder cannot be read or
    is gone (a mount that went away): only deleting versions does that, as in TensorFlow Serving.
    """

    def __init__(self, root: Path, log: Log) -> None:
        self._root = root
        self._log = log
        self._servables: dict[str, Servable] = {}
        self._complaints: dict[Path, str] = {}

    def poll(self) -> None:
        """Look for new models and versions, load and unload."""
        for model_dir in self._model_dirs():
            servable = self._servables.get(model_dir.name) or Servable(model_dir, self._log)
            try:
                if model_dir.name in self._servables or versions.list_versions(model_dir):
                    self._servables[model_dir.name] = servable
                    servable.poll()
            except OSError as error:
                self._complain(model_dir, error)
            else:
                self._complaints.pop(model_dir, None)

    def use(self, name: str, number: int | None = None) -> AbstractContextManager[tuple[int, Model]]:
        """Lend a model's version, the newest when no number is given. Raises INVALID_ARGUMENT or NOT_FOUND."""
        if not name:
            raise invalid("ModelSpec has no name specified.")
        servable = self._servables.get(name)
        if servable is None:
            raise not_found(name, number)
        return servable.use(number)

    def history(self, name: str) -> list[Version]:
        """Give every version ever met of a model, the newest first; empty for an unknown model."""
        servable = self._servables.get(name)
        return servable.history() if servable else []

    def names(self) -> list[str]:
        """Give the models that had a version at some time, `digits` first."""
        return sorted(self._servables, key=_promoted_first)

    def __contains__(self, name: str) -> bool:
        return name in self._servables

    def served(self) -> dict[str, Version]:
        """Give the version that answers for each model that has one, `digits` first."""
        found = {name: self._servables[name].served for name in sorted(self._servables, key=_promoted_first)}
        return {name: version for name, version in found.items() if version}

    def _model_dirs(self) -> list[Path]:
        """List the folders that are or may be models, `digits` first so that it is up first; none for a bad root."""
        try:
            found = {entry.name for entry in os.scandir(self._root) if entry.is_dir() and entry.name[0] != "."}
        except OSError as error:
            if self._servables or not isinstance(
                error, FileNotFoundError
            ):  # before the first training it may be missing
                self._complain(self._root, error)
            return []
        self._complaints.pop(self._root, None)
        return [self._root / name for name in sorted(found | set(self._servables), key=_promoted_first)]

    def _complain(self, folder: Path, error: OSError) -> None:
        message = f"error: {folder}: {error.strerror or error}; what is loaded keeps serving. Check the folder."
        if self._complaints.get(folder) != message:
            self._complaints[folder] = message
            self._log(message)


def _promoted_first(name: str) -> tuple[bool, str]:
    return name != MODEL, name
