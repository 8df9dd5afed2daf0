"""Where the list of models comes from: the folders under a model root, or a models.config that is followed."""

import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from client.errors import DigitsError
from serving import config, versions
from serving.complaints import Complaints

LOOK_SECONDS = 1.0
"""How long new folders are waited for; those on a mount that hangs are looked into beside the others."""
FIRST_LOOK_SECONDS = 30.0
"""How long a start waits for the first model before that: a mount may be slow."""


class Source(Protocol):
    """Gives the models to serve.

    `roots` are the folders inside which a reload request may name base paths; `outlives_reload` says whether the source
    is still asked after such a request.
    """

    outlives_reload: bool

    @property
    def roots(self) -> list[Path]:
        """The folders that the operator has opened to reload requests."""

    def models(self, current: config.Models) -> config.Models | None:
        """List the models, given those that are configured now; None when nothing is to change. Raises OSError."""


class ModelRoot:
    """Every folder under a root that holds versions. A model stays when its folder or the root goes away.

    With `only`, that one model, whether its folder holds a version or not yet (MODEL_NAME of TensorFlow Serving's
    image). Raises DigitsError when made from a root that is there but cannot be read.
    """

    outlives_reload = False

    def __init__(self, root: Path, complaints: Complaints, only: str | None = None) -> None:
        _check_readable(root)
        self._root, self._complaints, self._only = root, complaints, only
        self._looking: set[str] = set()
        self._hold_versions: set[str] = set()

    @property
    def roots(self) -> list[Path]:
        """The root."""
        return [self._root]

    def models(self, current: config.Models) -> config.Models | None:
        """List the models under the root and those that once were there."""
        try:
            found = [entry.name for entry in os.scandir(self._root) if self._may_be_model(entry)]
        except FileNotFoundError:
            if current:
                raise
            return None  # to come, with the first training
        self._complaints.over("")
        new = self._models_among([name for name in found if name not in current], first=not current)
        return {**current, **{name: config.from_folder(self._root / name) for name in new}} if new else None

    def _may_be_model(self, entry: os.DirEntry[str]) -> bool:
        """Tell what can be told without asking the entry itself, which may be on a mount that hangs."""
        try:
            entry.name.encode()
        except UnicodeEncodeError:
            self._complaints.say(entry.name, f"warning: {entry.path}: not UTF-8, as a model's name must be; left out")
            return False
        return entry.name[0] != "." and (entry.is_dir(follow_symlinks=False) or entry.is_symlink())

    def _models_among(self, names: list[str], first: bool) -> list[str]:
        """Look into folders, each on a thread of its own; what one holds that takes longer is known another time."""
        if self._only:
            return [name for name in names if name == self._only]
        looks = [threading.Thread(target=self._look, args=(name,), daemon=True) for name in names]
        for look in looks:
            look.start()
        end = time.monotonic() + FIRST_LOOK_SECONDS * first
        while not self._hold_versions and any(look.is_alive() for look in looks) and time.monotonic() < end:
            time.sleep(0.01)
        join(looks, LOOK_SECONDS)
        return [name for name in names if name in self._hold_versions]

    def _look(self, name: str) -> None:
        if name in self._looking:
            return  # that one hangs still
        self._looking.add(name)
        try:
            if versions.list_versions(self._root / name):
                self._hold_versions.add(name)
            self._complaints.over(name)
        except (FileNotFoundError, NotADirectoryError):
            pass  # a link to nothing, or to a file
        except OSError as error:
            self._complaints.say_unreadable(name, error)
        finally:
            self._looking.discard(name)


def _check_readable(models: Path) -> None:
    try:
        os.scandir(models).close()
    except FileNotFoundError:
        pass  # to come, with the first training
    except OSError as error:
        raise DigitsError(
            f"{models}: {error.strerror}. Give the folder that holds the models, for example: digits serve --models "
            f"models"
        ) from None


class ConfigFile:
    """A models.config, read again when it changes; while it cannot be read or is wrong, what was read last holds.

    Raises DigitsError when made from a file that cannot be used.
    """

    outlives_reload = True

    def __init__(self, path: Path, complaints: Complaints) -> None:
        self._path, self._complaints = path, complaints
        self._state = versions.identify(path)  # before reading: a change meanwhile is read again
        self._models = config.read(path)
        self._is_new = True

    @property
    def roots(self) -> list[Path]:
        """The folders above the base paths that the file names; never the whole file system: then these themselves."""
        paths = [Path(os.path.normpath(model.base_path)) for model in self._models.values()]
        return [path if path.parent == Path(path.anchor) else path.parent for path in paths]

    def models(self, current: config.Models) -> config.Models | None:
        """List the models of the file if it has changed."""
        if (state := versions.identify(self._path)) == self._state:
            self._complaints.over("")
        elif self._read():
            self._state = state
        is_new, self._is_new = self._is_new, False
        return self._models if is_new else None

    def _read(self) -> bool:
        try:
            self._models, self._is_new = config.read(self._path), True
        except DigitsError as error:
            self._complaints.say("", f"error: {error} (the models stay as they are)")
            return False
        self._complaints.over("")
        return True


def join(threads: Iterable[threading.Thread], seconds: float) -> None:
    """Wait for threads, all together so long at most."""
    end = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0, end - time.monotonic()))
