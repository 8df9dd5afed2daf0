"""Real things that the tests share: MNIST, a limited training and its exports, servers, certificates, a browser."""

import base64
import datetime
import ipaddress
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf.wrappers_pb2 import Int64Value
from grpc_health.v1 import health_pb2, health_pb2_grpc

from client import Client
from client.proto.serving_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelSpec,
    ModelVersionStatus,
    PredictRequest,
    PredictResponse,
)
from client.tensors import pack_content
from serving import versions

DIGITS = str(Path(sys.executable).with_name("digits"))
CHROMIUM = shutil.which("chromium")
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --hide-scrollbars --remote-debugging-pipe"""
FAULTS = """((boxes, blocks, narrowest) => {
  const faults = [], page = document.body.getBoundingClientRect();
  const say = (what, element) => faults.push(`${what}: ${element.tagName} ${element.alt || element.innerText}`);
  const shown = selector => [...document.querySelectorAll(selector)].filter(element => element.getClientRects().length);
  const width = document.documentElement.scrollWidth;
  if (width > innerWidth) faults.push(`scrolls to ${width}`);
  for (const element of shown(boxes)) {
    const box = element.getBoundingClientRect();
    if (box.left < page.left || box.right > page.right) say("outside the page", element);
    if (element.scrollWidth > element.clientWidth + 1) say("cut", element);
    if (element.tagName == "IMG" && !(element.naturalWidth && box.width > narrowest)) say("not shown", element);
  }
  const places = shown(blocks).map(element => [element, element.getBoundingClientRect()]);
  places.forEach(([element, a], index) => places.slice(index + 1).forEach(([other, b]) => {
    const apart = a.left >= b.right || b.left >= a.right || a.top >= b.bottom || b.top >= a.bottom;
    if (!apart) say(`overlaps ${other.tagName}`, element);
  }));
  return faults;
})"""
LOOKS = ("FORCE_COLOR", "NO_COLOR", "GITHUB_ACTIONS", "COLUMNS")
TIMEOUT = 60
METHODS = {"Predict": PredictResponse, "GetModelStatus": GetModelStatusResponse}


def pytest_configure() -> None:
    """A shell starts its background jobs deaf to Ctrl-C, and all that they start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--server", metavar="HOST:PORT", help="run the conformance tests against this server")
    parser.addoption("--rest", metavar="HOST:PORT", help="and against this REST port of it")


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """What a developer has set must not change what the commands do, print, or publish to."""
    with pytest.MonkeyPatch.context() as environment:
        for name in [*os.environ]:
            if name.startswith(("DIGITS_", "MODEL_")) or name in LOOKS:
                environment.delenv(name)
        yield


def run(*arguments: str | Path, **options) -> subprocess.CompletedProcess[str]:
    """Run the `digits` command as a person would, and wait for it."""
    return subprocess.run([DIGITS, *map(str, arguments)], capture_output=True, text=True, timeout=280, **options)


@pytest.fixture(scope="session")
def digits():
    return run


@pytest.fixture(scope="session")
def command() -> str:
    """The path of the installed `digits` command, for tests that must talk to it while it runs."""
    return DIGITS


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A real but short training of A and B: its folder (with models/ and runs/) and what the command printed."""
    folder = tmp_path_factory.mktemp("trained")
    cores = sorted(os.sched_getaffinity(0))[:2]  # with more, each of the two would have more threads than one
    options = {"cwd": folder, "preexec_fn": lambda: os.sched_setaffinity(0, cores)}
    finished = run("train", "A", "B", "--limit", "12000", "--epochs", "6", **options)
    assert finished.returncode == 0, finished.stderr
    return folder, finished


@pytest.fixture(scope="session")
def model_root(trained: tuple[Path, object]) -> Path:
    """Exported versions digits/1, A/1 and B/1. Read only: copy what you change."""
    return trained[0] / "models"


@pytest.fixture(scope="session")
def mnist_test() -> tuple[np.ndarray, np.ndarray]:
    """The 10,000 test images, uint8 [10000, 28, 28], and their labels."""
    from training.data import load

    mnist = load()
    return np.concatenate([mnist.x_val, mnist.x_test]), np.concatenate([mnist.y_val, mnist.y_test])


class Server:
    """A `digits serve` process: what it has printed so far, and a channel to it."""

    def __init__(self, command: list[str | Path], patience: float = TIMEOUT, **options) -> None:
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options)
        self.lines: list[str] = []
        self.endless: list[grpc.Future] = []
        self._patience, self._silent = patience, False
        self._printed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)  # a server that no test ended has no end
        self._reader.start()
        self.wait_for("listening on ")
        self.address = self.endpoints["gRPC"]
        self.channel = grpc.insecure_channel(self.address, [("grpc.max_send_message_length", -1)])
        self.health = health_pb2_grpc.HealthStub(self.channel)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._printed:
                self.lines.append(line.rstrip("\n"))
                self._printed.notify_all()
        with self._printed:
            self._silent = True
            self._printed.notify_all()

    def wait_for(self, start: str) -> str:
        """Give the first line that begins so, or whose message in JSON does, once it is printed."""

        def found() -> list[str]:
            return [line for line in self.lines if line.startswith(start) or f'"message": "{start}' in line]

        with self._printed:
            self._printed.wait_for(lambda: found() or self._silent, self._patience)
            assert found(), f"no '{start}' in {self.lines}"
        return found()[0]

    @property
    def endpoints(self) -> dict[str, str]:
        """Give the addresses that it has printed, by protocol."""
        found = re.findall(r"listening on ([\d.]+:\d+) \((\w+)", "\n".join(self.lines))
        return {protocol: address for address, protocol in found}

    def method(self, name: str) -> grpc.UnaryUnaryMultiCallable:
        service = "ModelService" if name == "GetModelStatus" else "PredictionService"
        path = f"/tensorflow.serving.{service}/{name}"
        return self.channel.unary_unary(path, lambda message: message.SerializeToString(), METHODS[name].FromString)

    def predict(self, count: int = 1, name: str = "digits", number: int | None = None):
        """Begin a Predict of that many images."""
        blank = np.zeros((count, 28, 28), np.uint8)
        request = PredictRequest(model_spec=ModelSpec(name=name), inputs={"images": pack_content(blank)})
        if number is not None:
            request.model_spec.version.CopyFrom(Int64Value(value=number))
        return self.method("Predict").future(request, timeout=TIMEOUT)

    def version(self, name: str = "digits", number: int | None = None) -> int:
        """Give the version that answers a Predict."""
        return self.predict(1, name, number).result().model_spec.version.value

    def states(self, name: str = "digits") -> list[tuple[int, str, int]]:
        """Give version, state and error code of all versions that were met."""
        request = GetModelStatusRequest(model_spec=ModelSpec(name=name))
        told = self.method("GetModelStatus")(request, timeout=TIMEOUT).model_version_status
        return [(v.version, ModelVersionStatus.State.Name(v.state), v.status.error_code) for v in told]

    def healthy(self) -> bool:
        answer = self.health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
        return answer.status == health_pb2.HealthCheckResponse.SERVING

    def endless_call(self, reached: bool = True) -> threading.Event:
        """Begin a Predict that never sends its message, so that it stays in flight until the event is set."""
        leave = threading.Event()

        def never() -> Iterator[bytes]:
            leave.wait()
            yield from ()

        method = self.channel.stream_unary("/tensorflow.serving.PredictionService/Predict")
        self.endless.append(method.future(never()))  # unreferenced it would be cancelled
        if reached:
            self.version()  # a later call on the same connection is answered: the endless one has reached the server
        return leave

    def stop(self) -> int:
        """End it with SIGTERM, unless it has ended, and give its exit code."""
        self.process.terminate()
        return self.ended()

    def ended(self) -> int:
        code = self.process.wait(TIMEOUT)
        self._reader.join()
        self.channel.close()
        self.process.stderr.close()
        return code


@contextmanager
def started() -> Iterator[list[Server]]:
    """A list for servers; those in it that still run at the end are killed."""
    servers: list[Server] = []
    yield servers
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
        server.ended()


@pytest.fixture(scope="session")
def server() -> Iterator[Callable[..., Server]]:
    """Run a command that serves, for tests that keep one for several tests."""
    with started() as servers:

        def run(command: list[str | Path], **options) -> Server:
            servers.append(Server(command, **options))
            return servers[-1]

        yield run


@pytest.fixture(scope="session")
def endpoints(model_root: Path) -> Iterator[dict[str, str]]:
    """The addresses of an embedded server on the trained models: `gRPC` and `REST`."""
    server = Server([DIGITS, "serve", "--models", str(model_root), "--port", "0"])
    server.wait_for("try it: ")
    yield server.endpoints
    assert server.stop() == 0


@pytest.fixture(scope="session")
def served(endpoints: dict[str, str]) -> str:
    """The gRPC address of the embedded server."""
    return endpoints["gRPC"]


@pytest.fixture(scope="session")
def address(request: pytest.FixtureRequest) -> str:
    """The gRPC address of the server whose conformance is tested."""
    return request.config.getoption("--server") or request.getfixturevalue("served")


@pytest.fixture(scope="session")
def version(address: str) -> int:
    """The version of `digits` that is served there."""
    with Client(address) as client:
        return max(one.version for one in client.status() if one.state == "AVAILABLE")


@pytest.fixture(scope="session")
def embedded(request: pytest.FixtureRequest) -> None:
    """Skip what only the embedded server promises, before models are trained for it."""
    if request.config.getoption("--server"):
        pytest.skip("only the embedded server promises this")


@pytest.fixture
def root(model_root: Path, tmp_path: Path) -> Path:
    """A model root to change, with digits/1 and A/1."""
    for name in ("digits", "A"):
        shutil.copytree(model_root / name / "1", tmp_path / "models" / name / "1")
    return tmp_path / "models"


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    """Start servers that look for new versions every 0.1 s; those that still run are ended after the test."""
    with started() as servers:

        def start(models: Path | None, *options: str | Path, **environment: str) -> Server:
            root = ["--models", models] if models else []
            arguments = [DIGITS, "serve", *root, "--port", "0", "--poll-seconds", "0.1", *options]
            servers.append(Server([str(argument) for argument in arguments], env={**os.environ, **environment}))
            return servers[-1]

        yield start


@pytest.fixture
def launch(model_root: Path, start) -> Callable[..., Server]:
    """Start servers on the trained models, with options, and wait until they serve `digits`."""

    def launch(*options: str | Path, models: Path = model_root) -> Server:
        server = start(models, *options)
        server.wait_for("try it: ")
        return server

    return launch


@pytest.fixture
def publish(model_root: Path) -> Callable[..., int]:
    """Publish a copy of the trained digits/1, also one without a file, as the next version of a model under a root."""

    def publish(root: Path, without: str | None = None, name: str = "digits") -> int:
        with versions.staging(root / name) as directory:
            shutil.copytree(model_root / "digits" / "1", directory, dirs_exist_ok=True)
            if without:
                (directory / without).unlink()
            return int(versions.publish(directory).name)

    return publish


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., None]:
    """Wait for something to become true."""

    def wait_until(true: Callable[[], object], patience: float = TIMEOUT) -> None:
        deadline = time.monotonic() + patience
        while not true():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    return wait_until


class Authority:
    """A CA in a folder: `ca.pem`, and what it signs as `<name>.pem` and `<name>.key`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder, self.ca = folder, folder / "ca.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, folder.name)])
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        self.ca.write_bytes(self._sign(self._name, self._key, constraints))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Give a new certificate and its key, for 127.0.0.1."""
        cert, key_file = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        key = ec.generate_private_key(ec.SECP256R1())
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        cert.write_bytes(self._sign(subject, key, address))
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        key_file.write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
        return cert, key_file

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=subject,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - datetime.timedelta(hours=1),
            not_valid_after=now + datetime.timedelta(hours=1),
        )
        signed = builder.add_extension(extension, critical=False).sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ours")


@pytest.fixture
def other(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "other")


class Chromium:
    """A browser that is told what to do in the DevTools protocol, over a pipe: no driver and no port."""

    def __init__(self, profile):
        (theirs_in, self.out), (self.into, theirs_out) = os.pipe(), os.pipe()

        def at_3_and_4():
            os.dup2(os.dup(theirs_in), 3)
            os.dup2(os.dup(theirs_out), 4)

        command = [CHROMIUM, *FLAGS.split(), f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL, close_fds=False, preexec_fn=at_3_and_4)
        os.close(theirs_in)
        os.close(theirs_out)
        self.answers = os.fdopen(self.into, "rb")
        self.buffer, self.events, self.number, self.session = b"", [], 0, None
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self.session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self(f"{domain}.enable")

    def __call__(self, method, **parameters):
        """Call a method of the protocol and wait for its answer; events that come before are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while (answer := self.read()).get("id") != self.number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def read(self):
        while b"\0" not in self.buffer:
            part = self.answers.read1(1 << 20)
            assert part, "chromium ended"
            self.buffer += part
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def open(self, url, width, scheme="light", media="screen"):
        """Show a page in a window of this width, in a light or dark scheme, or as it is printed."""
        self.events.clear()
        self("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
        self("Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}])
        self("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self.read())

    def evaluate(self, expression):
        answer = self("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def faults(self, boxes, blocks, narrowest):
        """Tell which boxes are cut or outside of the page, blocks overlap, and images are missing or not so wide."""
        return self.evaluate(f"{FAULTS}({json.dumps(boxes)}, {json.dumps(blocks)}, {narrowest})")

    def requested(self):
        """Give the addresses that the page has asked since it was opened."""
        asked = [event["params"] for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return [request["request"]["url"] for request in asked]

    def complaints(self):
        """Give what the browser's console holds since the page was opened."""
        kinds = {"Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"}
        return [event for event in self.events if event["method"] in kinds]

    def mouse(self, kind, x, y, button="left", **more):
        """Move, press or release a pointer at a place of the window."""
        held = int(kind != "mouseReleased")
        self("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, buttons=held, clickCount=1, **more)

    def press(self, key, modifiers=0):
        """Press and release a key; 2 is Control."""
        code = {"Tab": 9, "Enter": 13}.get(key, 0)
        text = {"Tab": "", "Enter": "\r"}.get(key, "" if modifiers else key)
        for kind in ("keyDown", "keyUp"):
            event = {"key": key, "text": text, "windowsVirtualKeyCode": code, "modifiers": modifiers}
            self("Input.dispatchKeyEvent", type=kind, **event)

    def screenshot(self):
        """Give a PNG of the whole page."""
        return base64.b64decode(self("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def close(self):
        os.close(self.out)  # the end of the pipe ends the browser
        self.process.wait(30)
        self.answers.close()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    if CHROMIUM is None:
        (pytest.fail if "CI" in os.environ else pytest.skip)("no chromium here; as root, make test installs it")
    browser = Chromium(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()
