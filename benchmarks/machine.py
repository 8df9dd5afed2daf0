"""What a benchmark ran on: the last line of each one's output is a JSON document that includes this."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("tensorflow", "keras", "numpy", "grpcio", "protobuf", "ai-edge-litert", "pillow")


def document(benchmark: str, **figures: Any) -> dict[str, Any]:
    """Give what the last line of a benchmark's output holds: its name, its figures, and the machine."""
    return {"benchmark": benchmark, **figures, "machine": _describe()}


def _describe() -> dict[str, Any]:
    """Give processor, usable cores, Python, package versions and commit."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "commit": _commit(),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip()
