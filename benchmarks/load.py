"""A load of equal requests from another process: h2load (C++) where it is installed, else a Python gRPC client.

    python -m benchmarks.load ADDRESS PATH REQUEST_FILE IN_FLIGHT SECONDS   # the Python client, one latency a line, µs

The Python client needs about as much processor time for a request as a Python server, so it hides differences: for
figures to rely on install h2load (Debian: nghttp2-client).
"""

import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc

from benchmarks.wires import TIMEOUT_SECONDS, Wire

MOST_CONNECTIONS = 16
"""Several requests share one, as in gRPC they do; enough that several processes on a port each get some."""
GRPC_HEADERS = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
"""What h2load has to send with a gRPC call."""
GENERATOR = "h2load" if shutil.which("h2load") else "python"


@dataclass(frozen=True)
class Figures:
    """What a server did under a load; latencies in milliseconds."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float


def measure(wire: Wire, address: str, request: bytes, in_flight: int, seconds: float) -> Figures:
    """Keep so many requests in flight for that time.

    Raises RuntimeError when calls fail or the answers are not the expected ones.
    """
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        if GENERATOR == "h2load":
            latencies = _h2load(wire, address, request, in_flight, seconds, Path(folder))
            elapsed = seconds
        else:
            latencies = _python(wire, address, request, in_flight, seconds, Path(folder))
            elapsed = min(seconds, time.perf_counter() - start)
    percentiles = statistics.quantiles(latencies, n=100)
    return Figures(len(latencies) / elapsed, percentiles[49] / 1000, percentiles[98] / 1000)


def framed(message: bytes) -> bytes:
    """Give a message as gRPC puts it into HTTP/2: not compressed, its length, itself."""
    return struct.pack(">xI", len(message)) + message


def _h2load(wire: Wire, address: str, request: bytes, in_flight: int, seconds: float, folder: Path) -> list[int]:
    """Run h2load; it counts any HTTP answer, so the bytes of the answers are checked against a good one's."""
    (folder / "request").write_bytes(framed(request) if wire.is_grpc else request)
    connections = min(in_flight, MOST_CONNECTIONS) if wire.is_grpc else in_flight
    command = ["h2load", f"http://{address}{wire.path}", "-c", str(connections), "-m", str(in_flight // connections)]
    command += ["-D", f"{seconds * 1000:.0f}ms", "-d", str(folder / "request"), "--log-file", str(folder / "log")]
    command += GRPC_HEADERS if wire.is_grpc else ["--h1"]
    printed = _run(command)
    latencies = [int(line.split("\t")[2]) for line in (folder / "log").read_text().splitlines()]
    traffic = next(line for line in printed.splitlines() if line.startswith("traffic:"))
    received = int(traffic.rsplit("(", 1)[1].split(")")[0])
    answer = wire.call(address, request)
    expected = len(framed(answer) if wire.is_grpc else answer) * len(latencies)
    if not 0.98 * expected < received < 1.1 * expected:
        raise RuntimeError(f"{received} bytes came back where {expected} were expected: some calls failed")
    return latencies


def _python(wire: Wire, address: str, request: bytes, in_flight: int, seconds: float, folder: Path) -> list[int]:
    if not wire.is_grpc:
        raise RuntimeError("HTTP/1.1 needs h2load. Run: apt-get install nghttp2-client")
    (folder / "request").write_bytes(request)
    command = [sys.executable, "-m", "benchmarks.load", address, wire.path, str(folder / "request")]
    command += [str(in_flight), str(seconds)]
    return [int(line) for line in _run(command).splitlines()]


def _run(command: list[str]) -> str:
    finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode:
        raise RuntimeError(f"{command} ended with {finished.returncode}: {finished.stderr[-1000:]}")
    return finished.stdout


def main() -> None:
    """Ask until the time is over; the first call that fails, or is answered at another length, is the end."""
    address, path, request = sys.argv[1], sys.argv[2], Path(sys.argv[3]).read_bytes()
    in_flight, seconds = map(float, sys.argv[4:])
    method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = grpc.insecure_channel(address).unary_unary(path)
    call = partial(method, request, timeout=TIMEOUT_SECONDS)
    expected, latencies, end = len(call()), [], time.perf_counter() + seconds

    def ask(_: int) -> None:
        while (start := time.perf_counter()) < end:
            answered = len(call())
            latencies.append(int((time.perf_counter() - start) * 1e6))
            if answered != expected:
                sys.exit(f"{answered} bytes came back where {expected} were expected")

    with ThreadPoolExecutor(int(in_flight)) as threads:
        list(threads.map(ask, range(int(in_flight))))  # raises what one of them raised
    print(*latencies, sep="\n")


if __name__ == "__main__":
    main()
