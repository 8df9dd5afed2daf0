"""The file of `--resume`: JSON Lines, one object a file, from which an interrupted run goes on."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from client.errors import UsageError
from client.report import Report, record
from client.results import Result

HEADS = b'{"file": ', b'{"benchmark": '
"""How the lines begin that digits classify writes."""
FIRST = re.compile(rb'\{"file": "(\\.|[^"\\])*", "(digit|error)": ')
"""How a first line of ours that was cut off looks at least: less is also the beginning of somebody else's JSON."""


class Journal(Report):
    """Appends records to a file and knows which files it has. What stands in it is done, also where it failed.

    A last line that was cut off by the interruption, or is the results table of --json, is taken away. Raises
    UsageError when the file holds something else, or another run adds to it.
    """

    has_benchmark = False  # it holds files only

    def __init__(self, path: Path) -> None:
        if path.exists() and not path.is_file():  # a device may have no end
            raise UsageError(f"{path} is no file that can be read again. Name another with --resume")
        self._path, self._file = path, path.open("a+b")
        _lock(self._file, path)
        self.before, self._given = dict[str, bool](), set[str]()
        end = self._read(path)
        self._file.truncate(end)

    def _read(self, path: Path) -> int:
        """Learn what is done, and give where the last whole line of a file ends."""
        end = position = self._file.seek(0)
        for number, line in enumerate(self._file, 1):
            if _is_cut_off(line, first=not end):
                break
            position += len(line)
            try:
                told = json.loads(line) if line.endswith(b"\n") else {}
                if end and "benchmark" in told:
                    continue
                self.before[told["file"]] = "digit" in told or not told["error"]
            except (ValueError, TypeError, KeyError, RecursionError) as error:  # the last of JSON that nests deeply
                raise UsageError(
                    f"{path} line {number} is not from digits classify. Name another file with --resume"
                ) from error
            end = position
        return end

    def wants(self, file: str) -> bool:
        """Tell whether a file is still to be done; from now on it is not."""
        first = file not in self._given
        self._given.add(file)
        return first and file not in self.before

    def add(self, file: str, result: Result) -> None:
        """Append what became of a file."""
        with self._told():
            self._file.write(json.dumps(record(file, result)).encode() + b"\n")

    def flush(self) -> None:
        """Bring what was appended to the file."""
        with self._told():
            self._file.flush()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Give a failure to write the name of the file."""
        try:
            yield
        except OSError as error:
            error.filename = str(self._path)
            raise


def _is_cut_off(line: bytes, first: bool) -> bool:
    """Tell the beginning of a line of ours, which NULs may follow after a power cut."""
    if line.endswith(b"\n"):
        return False
    if first:
        return bool(FIRST.match(line))
    return any(head.startswith(line[: len(head)].rstrip(b"\0")) for head in HEADS)


def _lock(file: BinaryIO, path: Path) -> None:
    """Keep a file to this process until its end, where the system and the file system can: Windows has no fcntl."""
    with suppress(ImportError, OSError):
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another run writes to {path}. Wait for its end, or name another file with --resume"
            ) from None
