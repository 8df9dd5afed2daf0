"""The embedded server under everything at once: version swaps, broken versions, failing reloads, slow clients.

    python -m benchmarks.soak [--models models] [--requests 5000] [--minutes 60] [--swap-seconds 2]

An hour of an app is `--requests 500000`; the minutes end it earlier. Works on copies of two models, which take turns
as the newest version of `digits`: the version in each answer says whose probabilities it must hold. Prints what
happened and how the server's memory went; the last line is JSON.
"""

import argparse
import itertools
import json
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np

from benchmarks import machine
from benchmarks.servers import Server, running
from benchmarks.wires import predict_request
from client.console import shown
from client.contract import IMAGES, MODEL_SERVICE
from client.proto.config_pb2 import ModelConfig, ReloadConfigRequest
from client.proto.serving_pb2 import PredictRequest, PredictResponse
from client.questions import PREDICT
from client.tensors import Array, pack_content, unpack
from serving import versions
from serving.model import Model

RELOAD = f"/{MODEL_SERVICE}/HandleReloadConfigRequest"
IN_FLIGHT = 8
KEPT = 3
"""Versions that stay on disk."""
MEMORY_SAMPLES = 60


class Soak:
    """One run: what goes on beside the requests, and what has been seen."""

    def __init__(self, models: Path, folder: Path) -> None:
        self.root = folder / "models"
        self.letters = [found[1] for name in ("A", "B") if (found := versions.latest_version(models / name))]
        if len(self.letters) < 2:
            sys.exit(f"{models} does not hold the models A and B. Run: digits train A B --models {shown(models)}")
        self.seen: Counter[str] = Counter()
        self.owner: dict[int, int] = {}
        self.images = np.random.default_rng(0).integers(0, 256, (64, 28, 28), np.uint8)
        self.expected = [_probabilities(path, self.images) for path in self.letters]
        self.stop = threading.Event()
        self.publish(0)

    def publish(self, letter: int, *, broken: bool = False) -> None:
        """Publish a copy of a model as the next version of `digits`, and delete old versions."""
        with versions.staging(self.root / "digits") as directory:
            shutil.copytree(self.letters[letter], directory, dirs_exist_ok=True)
            if broken:
                (directory / versions.GRAPH_FILE).write_bytes(b"cut short")
            number = max([0, *versions.list_versions(self.root / "digits")]) + 1
            self.owner[number] = letter
            versions.publish(directory)
        for old in list(versions.list_versions(self.root / "digits").values())[:-KEPT]:
            shutil.rmtree(old)
        self.seen["broken versions" if broken else "versions"] += 1

    def beside(self, act: Callable[[float, Server], None], seconds: float, server: Server) -> None:
        """Run one of the three below beside the requests; what ends it before its time is a failure of the run."""
        try:
            act(seconds, server)
        except Exception as error:
            self.seen[f"UNEXPLAINED end of {act.__name__}: {error!r}"] += 1

    def swap(self, seconds: float, server: Server) -> None:
        """Publish the one model, then the other, then a broken version, and so on."""
        for letter, broken in itertools.cycle([(1, False), (0, False), (1, True)]):
            if self.stop.wait(seconds):
                return
            self.publish(letter, broken=broken)

    def reload(self, seconds: float, server: Server) -> None:
        """Send a reload that fails, for a model without any version or for a folder outside."""
        (self.root / "empty").mkdir()
        digits = ModelConfig(name="digits", base_path=str(self.root / "digits"), model_platform="tensorflow")
        empty = ModelConfig(name="empty", base_path=str(self.root / "empty"), model_platform="tensorflow")
        outside = ModelConfig(name="empty", base_path="/etc", model_platform="tensorflow")
        with grpc.insecure_channel(server.address) as channel:
            for wrong, code in itertools.cycle([(empty, "UNKNOWN"), (outside, "PERMISSION_DENIED"), (None, "OK")]):
                if self.stop.wait(seconds):
                    return
                request = ReloadConfigRequest()
                request.config.model_config_list.config.extend([digits, wrong] if wrong else [digits])
                answer = channel.unary_unary(RELOAD).future(request.SerializeToString(), timeout=30)
                got = answer.code().name
                self.seen[f"reloads answered {code}" if got == code else f"UNEXPLAINED reload {got}"] += 1

    def dawdle(self, seconds: float, server: Server) -> None:
        """Open calls whose message does not come, and leave."""
        with grpc.insecure_channel(server.address) as channel:
            while not self.stop.is_set():
                left = threading.Event()
                calls = [channel.stream_unary(PREDICT).future(_waits_for(left)) for _ in range(4)]
                self.stop.wait(seconds)
                for call in calls:
                    call.cancel()
                left.set()
                self.seen["slow calls"] += len(calls)

    def ask(self, server: Server, count: int, seconds: float) -> list[float]:
        """Send the requests, of one image to 32, and check each answer; gives the memory at times, in MB."""
        memory: list[float] = []
        end = time.monotonic() + seconds
        with grpc.insecure_channel(server.address) as channel:
            predict = channel.unary_unary(PREDICT)
            waiting: deque[tuple[slice, grpc.Future]] = deque()
            for number in itertools.takewhile(lambda _: time.monotonic() < end, range(count)):
                part = slice(number % 32, number % 32 + (1 if number % 4 else 1 + number % 32))
                waiting.append((part, predict.future(predict_request("digits", self.images[part]), timeout=60)))
                if len(waiting) >= IN_FLIGHT:
                    self._judge(*waiting.popleft())
                if number % max(1, count // MEMORY_SAMPLES) == 0:
                    memory.append(server.memory_mb("VmRSS"))
                    print(f"{number:,} of {count:,} requests, {memory[-1]:.0f} MB", file=sys.stderr)
            for left in waiting:
                self._judge(*left)
        return memory

    def _judge(self, part: slice, call: "grpc.Future") -> None:
        if error := call.exception():
            self.seen[f"UNEXPLAINED {error.code().name}: {error.details()}"] += 1
            return
        answer = PredictResponse.FromString(call.result())
        owner = self.owner[answer.model_spec.version.value]
        right = np.allclose(unpack(answer.outputs["probabilities"]), self.expected[owner][part], atol=1e-5)
        self.seen["answers" if right else "WRONG answers"] += 1


def _waits_for(left: threading.Event) -> Iterator[bytes]:
    left.wait()
    yield from ()


def _probabilities(version_dir: Path, images: Array) -> Array:
    return Model(version_dir).predict(PredictRequest(inputs={IMAGES: pack_content(images)}))[1]["probabilities"]


def run(models: Path, requests: int, seconds: float, swap_seconds: float) -> tuple[Counter[str], list[float]]:
    """Do it all; gives what was seen (UNEXPLAINED and WRONG are failures) and the server's memory at times, in MB."""
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(models, Path(folder))
        options = ["--models", str(soak.root), "--port", "0", "--poll-seconds", "0.2"]
        with running("serving", "serve", *options) as server:
            drain = threading.Thread(target=lambda: [None for _ in server.process.stderr or ()], daemon=True)
            drain.start()
            acts = soak.swap, soak.reload, soak.dawdle
            threads = [threading.Thread(target=soak.beside, args=(act, swap_seconds, server)) for act in acts]
            for thread in threads:
                thread.start()
            try:
                memory = soak.ask(server, requests, seconds)
            finally:
                soak.stop.set()
                for thread in threads:
                    thread.join()
                server.process.terminate()
                drain.join()  # Popen closes the pipe before it waits, under whoever still reads
        soak.seen["UNEXPLAINED exit"] += server.process.returncode != 0
        return +soak.seen, memory


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--models", type=Path, default=Path("models"))
    options.add_argument("--requests", type=int, default=5_000)
    options.add_argument("--minutes", type=float, default=60)
    options.add_argument("--swap-seconds", type=float, default=2)
    given = options.parse_args()
    start = time.perf_counter()
    seen, memory = run(given.models, given.requests, given.minutes * 60, given.swap_seconds)
    seconds = time.perf_counter() - start
    for what, count in sorted(seen.items()):
        print(f"{count:>9,}  {what}")
    middle = memory[len(memory) // 2]
    print(f"memory: {memory[0]:.0f} MB at first, {middle:.0f} half-way, {memory[-1]:.0f} at the end ({seconds:.0f} s)")
    print(json.dumps(machine.document("soak", seen=seen, memory_mb=memory, seconds=seconds)))
    sys.exit(any(what.startswith(("UNEXPLAINED", "WRONG")) for what in seen))


if __name__ == "__main__":
    main()
