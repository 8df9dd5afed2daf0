"""Servers of ours as child processes of a benchmark, and the version that they serve."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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
    """Start a server and end it; its first line with `listening on` tells the address."""
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", module, *arguments], stderr=subprocess.PIPE, text=True) as process:
        line = next(line for line in process.stderr or () if line.startswith("listening on"))
        try:
            yield Server(line.split()[2], time.perf_counter() - start, process)
        finally:
            process.terminate()


def newest(models: Path, model: str) -> Path:
    """Give the folder of a model's newest version; without one the benchmark ends here."""
    found = latest_version(models / model)
    if found is None:
        sys.exit(f"no version of {model} in {models}. Run: digits train")
    return found[1]
