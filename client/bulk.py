"""`digits classify --cluster`: any number of files by Ray Data, read on all nodes and asked of the server.

The answers are files of Parquet or JSON Lines, a row for each file. Whatever dies meanwhile, a part that is done again
takes the place of its first try, so that no row is lost or doubled.
"""

import glob
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
from pyarrow import dataset

from client.batches import BATCH
from client.cluster import connected
from client.console import counted
from client.errors import DigitsError, InvalidImage, UsageError
from client.files import STDIN, all_files, is_image
from client.remote import Client
from client.report import record
from client.run import Run, with_name

SCHEMA = pa.schema(
    {
        "file": pa.string(),
        "digit": pa.int64(),
        "probability": pa.float64(),
        "runner_up": pa.int64(),
        "runner_up_probability": pa.float64(),
        "probabilities": pa.list_(pa.float64()),
        "model": pa.string(),
        "model_version": pa.int64(),
        "notes": pa.list_(pa.string()),
        "error": pa.string(),
    }
)
"""The columns: those of `digits classify --json`."""


def classify(
    files: list[str], files_from: str | None, out: str, as_json: bool, address: str, connection: dict[str, Any]
) -> Run:
    """Write a row for each file to the folder `out`; both may be what fsspec opens (s3://…, gs://…, hdfs://…).

    `connection` are the arguments of Client. Raises UsageError for a folder that holds something, or an address that
    nothing opens, and DigitsError for one that fails, or when the run breaks off.
    """
    with _reaching(out):
        filesystem, folder = _opened(out)
        if filesystem.exists(folder) and filesystem.ls(folder):
            raise UsageError(f"{out} is not empty. Name another folder with --out")
    left_out = Counter[str]()
    names = list(dict.fromkeys(os.fsencode(name) for name in expand(files, files_from, left_out)))
    connection = {name: _whole(value) if isinstance(value, Path) else value for name, value in connection.items()}
    with Client(**connection) as client:
        client.status()  # no server: say so before anything is started
    with connected(address) as ray, _reaching(out):
        _write(ray, names, connection, filesystem, folder, as_json)
        run = _count(filesystem, folder, as_json)
    run.left_out = left_out
    if (total := run.classified + run.blank + run.failed) != len(names):
        raise DigitsError(
            f"{out} has {counted(total, 'row')} for {counted(len(names), 'file')}: it is not whole. Run it again"
        )
    return run


def expand(files: list[str], files_from: str | None, left_out: Counter[str] | None = None) -> Iterator[str]:
    """Give the files that arguments mean, whole, as nodes work elsewhere; addresses with :// are fsspec's."""
    if STDIN in files:
        raise UsageError("- is stdin, which the cluster's nodes cannot read: name files or folders")
    for name in all_files([name for name in files if "://" not in name], files_from, left_out=left_out):
        yield name if "://" in name else _whole(name)
    for name in files:
        if "://" in name:
            with _reaching(name):
                found = _expand_address(name, left_out)
            yield from found


def _whole(name: str | Path) -> str:
    return os.path.abspath(name)  # noqa: PTH100 (Path's leaves .. in)


def _opened(address: str) -> tuple[Any, str]:
    """Give the file system of an address, and its path there. Raises UsageError when fsspec lacks what opens it."""
    try:
        filesystem, path = fsspec.core.url_to_fs(address)
    except (ImportError, TypeError, ValueError) as error:  # no such package installed, arguments wanted, unknown
        raise UsageError(f"{address}: {error}") from error
    return filesystem, path


@contextmanager
def _reaching(address: str) -> Iterator[None]:
    """Tell in a line which address failed, and why, as far as that is not told yet."""
    try:
        yield
    except DigitsError:
        raise
    except Exception as error:
        raise DigitsError(f"{address}: {_reason(error)}. Check the address, the network and your access") from error


def _reason(error: Exception) -> str:
    """Give what a file system says, each of which has errors of its own."""
    told = str(getattr(error, "strerror", None) or error).strip().partition("\n")[0]
    return told.rstrip(".") or type(error).__name__


def _expand_address(address: str, left_out: Counter[str] | None) -> Iterable[str]:
    """Give what a pattern matches and a folder's images, as client/files.py does of names; without any, itself."""
    filesystem, path = _opened(address)
    if filesystem.isfile(path):  # also one with [ in its name
        return [address]
    if filesystem.isdir(path):
        found = [name for name in filesystem.find(path) if is_image(name, left_out)]
    else:
        found = filesystem.glob(path) if glob.has_magic(path) else []
    return [*map(filesystem.unstrip_protocol, sorted(found))] or [address]


def _write(
    ray: Any, names: list[bytes], connection: dict[str, Any], filesystem: Any, folder: str, as_json: bool
) -> None:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    free = int(ray.available_resources().get("CPU", 1))
    most = max(1, free - 1)  # readers on every free CPU would let no row be written before all files are read
    rows = ray.data.from_items([{"file": name} for name in names], override_num_blocks=_blocks(len(names)))
    rows = rows.map_batches(
        Reader,
        fn_constructor_args=(connection,),
        batch_size=BATCH,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=most),
    )
    write = rows.write_json if as_json else rows.write_parquet
    try:
        write(folder, filesystem=filesystem)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise DigitsError(f"the run on the cluster broke off: {reason} Run it again, with an empty --out") from error


def _blocks(count: int) -> int:
    """Give in how many parts files are given out: a part that is lost is some seconds of work."""
    return max(1, min(count // BATCH, 1000))


def _count(filesystem: Any, folder: str, as_json: bool) -> Run:
    table = dataset.dataset(folder, SCHEMA, "json" if as_json else "parquet", filesystem=filesystem)
    digit, error = dataset.field("digit"), dataset.field("error")
    return Run(
        classified=table.count_rows(filter=digit.is_valid()),
        blank=table.count_rows(filter=digit.is_null() & error.is_null()),
        failed=table.count_rows(filter=error.is_valid()),
    )


class Reader:
    """Classifies batches of files on a node; a file that cannot be read becomes a row with the reason."""

    def __init__(self, connection: dict[str, Any]) -> None:
        self._client = Client(**connection)

    def __call__(self, batch: dict[str, Any]) -> pa.Table:
        """Give a row for each file of a batch."""
        return pa.Table.from_pylist(list(self._rows([os.fsdecode(name) for name in batch["file"]])), SCHEMA)

    def _rows(self, names: list[str]) -> Iterator[dict[str, Any]]:
        for name, result in zip(names, self._client.stream(map(fetch, names)), strict=True):
            row = record(name, with_name(name, result))
            yield row | {key: _as_text(row[key]) for key in ("file", "error") if key in row}


def _as_text(name: str) -> str:
    return os.fsencode(name).decode(errors="backslashreplace")  # names are bytes, and Arrow's strings UTF-8


def fetch(name: str) -> str | bytes | InvalidImage:
    """Give what the client reads: the path of a local file, the bytes of another, or what is wrong with it."""
    if "://" not in name:
        return name
    try:
        filesystem, path = fsspec.core.url_to_fs(name)
        content: bytes = filesystem.cat_file(path)  # fsspec.open has an answer of its own to a pattern
        return content
    except Exception as error:
        return InvalidImage(_reason(error))
