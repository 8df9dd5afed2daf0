"""How a server is reached: several addresses, TLS, client certificates, tokens. Against real gRPC servers."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from PIL import Image, ImageDraw

from client import Client, ServerUnavailable, UsageError, VersionStatus
from client.channel import Security, named
from client.proto import serving_pb2 as messages


class Counting(grpc.GenericRpcHandler):
    """Says that version 3 is AVAILABLE to whatever it is asked, and keeps what came with the calls."""

    def __init__(self):
        self.calls = []

    def service(self, details):
        self.calls.append(dict(details.invocation_metadata))
        version = messages.ModelVersionStatus(version=3, state="AVAILABLE")
        answer = messages.GetModelStatusResponse(model_version_status=[version]).SerializeToString()
        return grpc.unary_unary_rpc_method_handler(lambda *_: answer)


@contextmanager
def serving(credentials=None):
    handler = Counting()
    server = grpc.server(ThreadPoolExecutor(4), handlers=[handler])
    at = "127.0.0.1:0"
    port = server.add_secure_port(at, credentials) if credentials else server.add_insecure_port(at)
    server.start()
    yield f"127.0.0.1:{port}", handler
    server.stop(None).wait()


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """A certificate authority (ca), and a key and certificate of a server on loopback and of a client."""
    folder = tmp_path_factory.mktemp("keys")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9"]
    openssl(*new, "-x509", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem")
    for name in ("server", "client"):
        openssl(
            *(*new, "-x509", "-CA", "ca.pem", "-CAkey", "ca.key", "-subj", f"/CN={name}"),
            *("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"),
            *("-keyout", f"{name}.key", "-out", f"{name}.pem"),
        )
    return folder


@pytest.fixture
def secured(keys):
    """A server that speaks TLS and wants a client's certificate: its address, and what it was sent."""
    pair = (keys / "server.key").read_bytes(), (keys / "server.pem").read_bytes()
    with serving(grpc.ssl_server_credentials([pair], (keys / "ca.pem").read_bytes(), True)) as (address, handler):
        yield address, handler


def test_a_client_with_certificate_and_token_is_let_in(secured, keys):
    address, handler = secured
    files = {"ca": keys / "ca.pem", "cert": keys / "client.pem", "key": keys / "client.key"}
    with Client(address, token="secret", **files) as one:
        assert one.status() == [VersionStatus(3, "AVAILABLE", "")]
        assert "secret" not in repr(one)
    assert handler.calls[0]["authorization"] == "Bearer secret"
    assert handler.calls[0]["user-agent"].startswith("mnist-digits")


@pytest.mark.parametrize("wrong", ["no TLS", "unknown authority", "no certificate"])
def test_a_client_without_them_is_not(wrong, secured, keys):
    options = {"no TLS": {}, "unknown authority": {"tls": True}, "no certificate": {"ca": keys / "ca.pem"}}[wrong]
    with Client(secured[0], timeout=3, **options) as one, pytest.raises(ServerUnavailable, match=secured[0]):
        one.status()


def test_the_command_takes_the_same_options(digits, secured, keys, tmp_path):
    ImageDraw.Draw(image := Image.new("L", (60, 60))).line((30, 10, 30, 50), fill=255, width=5)
    image.save(tmp_path / "one.png")
    arguments = ["classify", tmp_path / "one.png", "--server", secured[0], "--ca", keys / "ca.pem"]
    finished = digits(*arguments, "--cert", keys / "client.pem", "--key", keys / "client.key", "--token", "secret")
    assert (finished.returncode, finished.stdout) == (4, "")  # it was let in, and this is no digit model
    assert secured[1].calls[0]["authorization"] == "Bearer secret"
    half = digits(*arguments, "--cert", keys / "client.pem")
    assert (half.returncode, half.stderr) == (2, "error: a client certificate needs both: give --cert and --key\n")


@pytest.mark.parametrize(
    ("half", "message"),
    [
        ({"cert": "a.pem"}, "a client certificate needs both: give --cert and --key"),
        ({"token": "secret"}, "a token would travel in clear text: give --tls or --ca with it"),
        ({"ca": "no.pem"}, "no.pem: No such file or directory. Give a PEM file"),
    ],
)
def test_half_a_protection_is_a_usage_error(half, message):
    with pytest.raises(UsageError) as caught:
        Client("localhost", **half)
    assert str(caught.value) == message


def test_a_token_is_in_no_representation():
    assert "secret" not in repr(Security(tls=True, token="secret"))


def test_calls_go_round_several_addresses():
    with serving() as (one, first), serving() as (other, second), Client(f"{one}, {other}") as client:
        for _ in range(20):
            client.status()
        assert len(first.calls) + len(second.calls) == 20
        assert min(len(first.calls), len(second.calls)) >= 5


def test_an_address_that_is_gone_is_passed_over():
    with serving() as (one, handler), Client(f"127.0.0.1:1,no-such-host.invalid:8500,{one}") as client:
        for _ in range(10):
            client.status()
        assert len(handler.calls) == 10


def test_a_name_with_several_addresses_is_resolved_by_dns():
    with serving() as (address, handler), Client(f"dns:///localhost:{address.rpartition(':')[2]}") as client:
        client.status()
        assert len(handler.calls) == 1


@pytest.mark.parametrize(
    ("given", "full"),
    [
        ("box", "box:8500"),
        ("box:9", "box:9"),
        ("a, b:9", "a:8500,b:9"),
        ("dns:///box", "dns:///box:8500"),
        ("[::1]:9", "[::1]:9"),
    ],
)
def test_a_port_that_is_left_out_is_8500(given, full):
    assert named(given) == full


@pytest.mark.parametrize("wrong", ["", "a,,b", "http://a", "dns:///a,b", "dns:///"])
def test_what_is_no_address_is_a_usage_error(wrong):
    with pytest.raises(UsageError, match="give HOST:PORT"):
        named(wrong)
