"""Servers of ours as child processes of a benchmark, and the version that they serve."""

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from client.console import shown
from serving.versions import latest_version


@dataclass(frozen=True)
class Server:
    """A server that answers: its address, how long it took to listen, and its process."""

    address: str
    start_s: float
    process: subprocess.Popen[str]

    def memory_mb(self, field: str = "VmHWM") -> float:
        """Give the most memory that it has ever held, or with VmRSS what it holds now."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


@contextmanager
def running(module: str, *arguments: str) -> Iterator[Server]:
    """Start a server and end it; its first line with `listening on` tells the address.

    The benchmark ends here with what a server says that does not start.
    """
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", module, *arguments], stderr=subprocess.PIPE, text=True) as process:
        address = _address(process.stderr or ())
        try:
            yield Server(address, time.perf_counter() - start, process)
        finally:
            process.terminate()


def _address(lines: Iterable[str]) -> str:
    said = []
    for line in lines:
        if line.startswith("listening on"):
            return line.split()[2]
        said.append(line)
    sys.exit("".join(said).strip() or "the server has ended without a word")


def newest(models: Path, model: str) -> Path:
    """Give the folder of a model's newest version; without one the benchmark ends here."""
    found = latest_version(models / model)
    if found is None:
        sys.exit(f"no version of {model} in {models}. Run: digits train --models {shown(models)}")
    return found[1]
