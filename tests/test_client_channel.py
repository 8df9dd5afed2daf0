"""How a server is reached: several addresses, TLS, client certificates, tokens. Against real gRPC servers."""

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import pytest
from PIL import Image, ImageDraw

from client import Client, ServerUnavailable, UsageError, VersionStatus
from client.channel import Security, full_address
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
def serving(credentials=None, host="127.0.0.1"):
    handler = Counting()
    server = grpc.server(ThreadPoolExecutor(4), handlers=[handler])
    at = f"{host}:0"
    port = server.add_secure_port(at, credentials) if credentials else server.add_insecure_port(at)
    server.start()
    yield f"{host}:{port}", handler
    server.stop(None).wait()


@pytest.fixture
def secured(authority):
    """A server that speaks TLS and wants a client's certificate: its address, and what it was sent."""
    cert, key = authority.issue("server")
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), cert.read_bytes())], authority.ca.read_bytes(), True)
    with serving(credentials) as (address, handler):
        yield address, handler


def test_a_client_with_certificate_and_token_is_let_in(secured, authority):
    address, handler = secured
    cert, key = authority.issue("client")
    with Client(address, ca=authority.ca, cert=cert, key=key, token="secret") as one:
        assert one.status() == [VersionStatus(3, "AVAILABLE", "")]
        assert "secret" not in repr(one)
    assert handler.calls[0]["authorization"] == "Bearer secret"
    assert handler.calls[0]["user-agent"].startswith("mnist-digits")


@pytest.mark.parametrize("wrong", ["no TLS", "unknown authority", "no certificate"])
def test_a_client_without_them_is_not(wrong, secured, authority):
    options = {"no TLS": {}, "unknown authority": {"tls": True}, "no certificate": {"ca": authority.ca}}[wrong]
    with Client(secured[0], timeout=60, **options) as one, pytest.raises(ServerUnavailable, match=secured[0]):
        one.status()


def test_the_command_takes_the_same_options(digits, secured, authority, tmp_path):
    cert, key = authority.issue("client")
    ImageDraw.Draw(image := Image.new("L", (60, 60))).line((30, 10, 30, 50), fill=255, width=5)
    image.save(tmp_path / "one.png")
    arguments = ["classify", tmp_path / "one.png", "--server", secured[0], "--ca", authority.ca]
    finished = digits(*arguments, "--cert", cert, "--key", key, "--token", "secret")
    assert (finished.returncode, finished.stdout) == (4, "")  # it was let in, and this is no digit model
    assert secured[1].calls[0]["authorization"] == "Bearer secret"
    half = digits(*arguments, "--cert", cert)
    assert (half.returncode, half.stderr) == (2, "error: a client certificate needs both: give --cert and --key\n")


@pytest.mark.parametrize("arguments", [["status"], ["read", "one.png"], ["classify", "one.png"]])
def test_a_command_tells_of_a_failed_handshake_in_one_line(digits, secured, arguments, tmp_path):
    ImageDraw.Draw(image := Image.new("L", (60, 60))).line((30, 10, 30, 50), fill=255, width=5)
    image.save(tmp_path / "one.png")
    finished = digits(*arguments, "--server", secured[0], "--tls", cwd=tmp_path)
    assert (finished.returncode, finished.stdout, finished.stderr.count("\n")) == (3, "", 1)


@pytest.mark.parametrize(
    ("half", "message"),
    [
        ({"cert": "a.pem"}, "a client certificate needs both: give --cert and --key"),
        ({"token": "secret"}, "a token would travel in clear text: give --tls or --ca with it"),
        ({"ca": "no.pem"}, "no.pem: No such file or directory. Give a PEM file"),
        ({"ca": "notes.txt"}, "notes.txt holds no certificate. Give a PEM file"),
        ({"ca": 5}, "ca 5: give the path of a PEM file"),
        ({"ca": ""}, "ca '': give the path of a PEM file"),
        ({"cert": True, "key": "notes.txt"}, "cert True: give the path of a PEM file"),
        (
            {"cert": "ours/a.pem", "key": "ours/b.key"},
            "ours/a.pem and ours/b.key are no certificate and its private key. Give PEM files, no passphrase",
        ),
        ({"tls": True, "token": "two\nlines"}, "a token is printable ASCII: take line ends and other characters out"),
        ({"tls": True, "token": "gehe\u00edm"}, "a token is printable ASCII: take line ends and other characters out"),
    ],
)
def test_half_a_protection_is_a_usage_error(half, message, authority, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("seven")
    authority.issue("a")
    authority.issue("b")
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


def has_ipv6():
    with suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine speaks no IPv6")
@pytest.mark.parametrize("host", ["[::1]", "127.0.0.1"])
def test_several_addresses_may_be_of_both_kinds_and_one_no_name_at_all(host):
    with serving(host=host) as (address, handler), Client(f"a..b,[::1]:1,{address}") as client:
        client.status()
        assert len(handler.calls) == 1


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
        ("[::1]", "[::1]:8500"),
        ("::1,a", "[::1]:8500,a:8500"),
        ("a,\tb\r\n", "a:8500,b:8500"),
        ("unix:/tmp/digits", "unix:/tmp/digits"),
    ],
)
def test_a_port_that_is_left_out_is_8500(given, full):
    assert full_address(given) == full


@pytest.mark.parametrize(
    "wrong",
    ["", "a,,b", "http://a", "dns:///a,b", "dns:///", ":8500", "a:b", "a:", "[::1]:0", "a:65536", f"a:{5000 * '1'}"],
)
def test_what_is_no_address_is_a_usage_error(wrong):
    with pytest.raises(UsageError, match="give HOST:PORT"):
        full_address(wrong)
