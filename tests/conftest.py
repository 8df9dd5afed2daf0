"""Real things that the tests share: MNIST, a limited training with its exports, running servers, certificates."""

import datetime
import ipaddress
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DIGITS = str(Path(sys.executable).with_name("digits"))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a developer has set must not change what the commands do or print."""
    for name in [*os.environ]:
        if name.startswith("DIGITS_") or name in ("FORCE_COLOR", "NO_COLOR", "GITHUB_ACTIONS", "COLUMNS"):
            monkeypatch.delenv(name)


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
    finished = run("train", "A", "B", "--limit", "12000", "--epochs", "3", cwd=folder)
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


class Launched:
    """An embedded server that serves `digits`: its addresses by protocol, its process, and the lines that it prints."""

    def __init__(self, models: Path, *options: str | Path) -> None:
        command = [DIGITS, "serve", "--models", models, "--port", "0", *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.lines: list[str] = []
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            if "try it: " in line:
                break
        found = re.findall(r"listening on ([\d.]+:\d+) \((\w+)", "\n".join(self.lines))
        assert found, self.lines
        self.endpoints = {protocol: address for address, protocol in found}

    def stop(self) -> int:
        """End it with SIGTERM, take in its last lines, and give its exit code."""
        assert self.process.stderr is not None
        self.process.terminate()
        self.lines += self.process.stderr.read().splitlines()
        self.process.stderr.close()
        return self.process.wait()


@pytest.fixture
def launch(model_root: Path) -> Iterator[Callable[..., Launched]]:
    """Start servers on the trained models, with options; those that still run are ended after the test."""
    launched: list[Launched] = []

    def launch(*options: str | Path, models: Path = model_root) -> Launched:
        launched.append(Launched(models, *options))
        return launched[-1]

    yield launch
    for server in launched:
        if not server.process.stderr.closed:
            server.stop()


@pytest.fixture(scope="session")
def endpoints(model_root: Path) -> Iterator[dict[str, str]]:
    """The addresses of an embedded server on the trained models: `gRPC` and `REST`."""
    server = Launched(model_root)
    yield server.endpoints
    assert server.stop() == 0


@pytest.fixture(scope="session")
def served(endpoints: dict[str, str]) -> str:
    """The gRPC address of the embedded server."""
    return endpoints["gRPC"]


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
