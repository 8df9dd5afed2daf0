"""TLS and mutual TLS on both ports, through our client and others."""

import http.client
import json
import shutil
import socket
import ssl
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest

from client import Client, ServerUnavailable
from serving.tls import exposure

BLANK = np.zeros((28, 28), np.uint8)
TIMEOUT = 30


def over_grpc(address: str, ca: Path, *pair: Path) -> int:
    """Classify an image; gives the version that answered."""
    cert, key = pair or (None, None)
    with Client(address, ca=ca, cert=cert, key=key, timeout=TIMEOUT) as client:
        return client.classify([BLANK])[0].model_version


def over_rest(address: str, ca: Path, *pair: Path) -> int:
    """Ask for the status; gives the version that is there."""
    context = ssl.create_default_context(cafile=ca)
    if pair:
        context.load_cert_chain(*pair)
    with closing(http.client.HTTPSConnection(address, timeout=TIMEOUT, context=context)) as connection:
        connection.request("GET", "/v1/models/digits")
        return int(json.loads(connection.getresponse().read())["model_version_status"][0]["version"])


PROTOCOLS: dict[str, Callable[..., int]] = {"gRPC": over_grpc, "REST": over_rest}
REFUSED = (ServerUnavailable, OSError, http.client.HTTPException)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_with_a_certificate_a_port_speaks_tls_only(launch, authority, other, protocol: str) -> None:
    cert, key = authority.issue("server")
    server = launch("--tls-cert", cert, "--tls-key", key)
    address, ask = server.endpoints[protocol], PROTOCOLS[protocol]
    assert f"listening on {address} ({protocol} over TLS)" in server.lines
    assert f"draw a digit: https://{server.endpoints['REST']}/" in server.lines
    assert server.lines[-1].endswith(f" --server {server.address} --ca CA.pem")
    assert ask(address, authority.ca) == 1
    with pytest.raises(REFUSED):
        ask(address, other.ca)
    with pytest.raises(REFUSED):
        if protocol == "gRPC":
            Client(address).status()
        else:
            with closing(http.client.HTTPConnection(address, timeout=TIMEOUT)) as plain:
                plain.request("GET", "/v1/models")
                plain.getresponse()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_mutual_tls_lets_in_only_whom_the_ca_signed(launch, authority, other, protocol: str) -> None:
    cert, key = authority.issue("server")
    server = launch("--tls-cert", cert, "--tls-key", key, "--tls-client-ca", other.ca)
    address, ask = server.endpoints[protocol], PROTOCOLS[protocol]
    assert f"listening on {address} ({protocol} over mutual TLS)" in server.lines
    assert server.lines[-1].endswith(f" --server {server.address} --ca CA.pem --cert CLIENT.pem --key CLIENT.key")
    assert ask(address, authority.ca, *other.issue("client")) == 1
    with pytest.raises(REFUSED):
        ask(address, authority.ca)
    with pytest.raises(REFUSED):
        ask(address, authority.ca, *authority.issue("stranger"))


def test_a_wrong_kind_of_port_is_named(launch, endpoints, authority) -> None:
    cert, key = authority.issue("server")
    secured = launch("--tls-cert", cert, "--tls-key", key).endpoints["gRPC"]
    no_tls = "no TLS there, or a certificate that --ca does not know"
    for address, options, reason in (
        (endpoints["gRPC"], {"ca": authority.ca}, no_tls),
        (secured, {"tls": True}, no_tls),
        (secured, {}, "it closed the connection: it stops, or wants --tls, or another --cert and --key"),
        (endpoints["REST"], {}, "that is a port for HTTP, as REST's; gRPC's is another"),
    ):
        with Client(address, **options) as client, pytest.raises(ServerUnavailable) as caught:
            client.status()
        assert f"no server answers at {address} ({reason}). Start one with" in str(caught.value)


def replace(source: Path, target: Path) -> None:
    """Put a file in another's place at once, as certificate managers do."""
    copy = target.with_suffix(".new")
    shutil.copy(source, copy)
    copy.replace(target)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_new_files_are_used_without_a_restart_and_bad_ones_are_not(launch, authority, other, protocol) -> None:
    cert, key = authority.issue("server")
    client_ca = cert.with_name("clients.pem")
    shutil.copy(authority.ca, client_ca)
    server = launch("--tls-cert", cert, "--tls-key", key, "--tls-client-ca", client_ca)
    address, ask = server.endpoints[protocol], PROTOCOLS[protocol]
    old, new = authority.issue("client"), other.issue("client")
    assert ask(address, authority.ca, *old) == 1
    cert.write_text("no certificate")
    assert [ask(address, authority.ca, *old) for _ in range(2)] == [1, 1]
    new_cert, new_key = other.issue("server")
    replace(new_key, key)
    replace(other.ca, client_ca)
    replace(new_cert, cert)
    assert ask(address, other.ca, *new) == 1
    with pytest.raises(REFUSED):
        ask(address, authority.ca, *old)
    with pytest.raises(REFUSED):
        ask(address, other.ca, *old)
    server.stop()
    error, renewed = [line for line in server.lines if str(cert) in line]
    assert error.startswith(f"error: cannot use {cert}, {key}, {client_ca}: ")
    assert error.endswith("The certificate from before stays in use.")
    assert renewed == f"{cert}: the new certificate is in use"


BYTE_ORDER_MARK = b"\xef\xbb\xbf"
REFUSED_BY_GRPC = (
    "gRPC refuses what OpenSSL takes, such as a byte order mark or a key other than RSA, P-256 and P-384. Give PEM "
    "files: a certificate chain, its key without a password, and the CA of the clients."
)


def test_a_renewed_ca_that_grpc_cannot_use_is_used_on_neither_port(launch, authority, other) -> None:
    cert, key = authority.issue("server")
    client_ca = cert.with_name("clients.pem")
    shutil.copy(authority.ca, client_ca)
    server = launch("--tls-cert", cert, "--tls-key", key, "--tls-client-ca", client_ca)
    old, new = authority.issue("client"), other.issue("client")
    client_ca.write_bytes(BYTE_ORDER_MARK + other.ca.read_bytes())
    for protocol, ask in PROTOCOLS.items():
        assert ask(server.endpoints[protocol], authority.ca, *old) == 1
        with pytest.raises(REFUSED):
            ask(server.endpoints[protocol], authority.ca, *new)
    replace(other.ca, client_ca)
    for protocol, ask in PROTOCOLS.items():
        assert ask(server.endpoints[protocol], authority.ca, *new) == 1
        with pytest.raises(REFUSED):
            ask(server.endpoints[protocol], authority.ca, *old)
    server.stop()
    assert [line for line in server.lines if str(cert) in line] == [
        f"error: cannot use {cert}, {key}, {client_ca}: {REFUSED_BY_GRPC} The certificate from before stays in use.",
        f"{cert}: the new certificate is in use",
    ]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_certificate_that_grpc_cannot_use_is_no_port_in_use(digits, authority, tmp_path, processes: int) -> None:
    cert, key = authority.issue("server")
    cert.write_bytes(BYTE_ORDER_MARK + cert.read_bytes())
    options = ["--models", tmp_path, "--port", "0", "--rest-port", "0", "--tls-cert", cert, "--tls-key", key]
    finished = digits("serve", *options, "--processes", processes)
    line = f"error: cannot use {cert}, {key}: {REFUSED_BY_GRPC}\n"
    assert (finished.returncode, finished.stdout, finished.stderr) == (1, "", line)


def connect(address: str, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLSession | None:
    """Open a connection, with what an earlier one agreed on if that is given, and say and hear something."""
    host, port = address.split(":")
    plain = socket.create_connection((host, int(port)), TIMEOUT)
    with closing(plain), context.wrap_socket(plain, server_hostname=host, session=session) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        if not connection.recv(1):
            raise ConnectionError
        return connection.session


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_client_of_a_ca_that_was_removed_does_not_come_in_by_an_earlier_session(
    launch, authority, other, protocol: str, version: ssl.TLSVersion
) -> None:
    cert, key = authority.issue("server")
    client_ca = cert.with_name("clients.pem")
    shutil.copy(authority.ca, client_ca)
    address = launch("--tls-cert", cert, "--tls-key", key, "--tls-client-ca", client_ca).endpoints[protocol]
    context, session = ssl.create_default_context(cafile=authority.ca), None
    context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.load_cert_chain(*authority.issue("client"))
    with suppress(OSError):  # a version may be refused from the start
        session = connect(address, context)
    replace(other.ca, client_ca)
    assert PROTOCOLS[protocol](address, authority.ca, *other.issue("client")) == 1
    with pytest.raises(OSError):
        connect(address, context, session)


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--tls-cert", "a.pem"], 2, "TLS needs a certificate and its key: give both --tls-cert and --tls-key"),
        (["--tls-client-ca", "a.pem"], 2, "TLS needs a certificate and its key: give both --tls-cert and --tls-key"),
        (
            ["--tls-cert", "a.pem", "--tls-key", "a.key"],
            1,
            "cannot use a.pem, a.key: No such file or directory. Give PEM files: a certificate chain, its key without "
            "a password, and the CA of the clients.",
        ),
    ],
)
def test_options_that_cannot_be_right_are_one_line(digits, tmp_path, options: list[str], code: int, text: str) -> None:
    finished = digits("serve", "--port", "0", *options, cwd=tmp_path)
    assert (finished.returncode, finished.stdout, finished.stderr) == (code, "", f"error: {text}\n")


def test_the_commands_of_the_client_speak_tls_too(launch, digits, authority, other) -> None:
    cert, key = authority.issue("server")
    server = launch("--tls-cert", cert, "--tls-key", key, "--tls-client-ca", other.ca)
    us, our_key = other.issue("client")
    options = ["--server", server.endpoints["gRPC"], "--ca", authority.ca]
    finished = digits("status", *options, "--cert", us, "--key", our_key)
    assert (finished.returncode, finished.stderr) == (0, "")
    finished = digits("status", *options, "--cert", us)
    assert (finished.returncode, finished.stderr) == (
        2,
        "error: a client certificate needs both: give --cert and --key\n",
    )
    finished = digits("status", "--ca", "no.pem")
    assert (finished.returncode, finished.stderr) == (
        2,
        "error: no.pem: No such file or directory. Give a PEM file\n",
    )


@pytest.mark.parametrize(
    ("host", "warned"),
    [("127.0.0.2", False), ("::1", False), ("localhost", False)]
    + [("0.0.0.0", True), ("::", True), ("192.0.2.1", True), ("example.org", True)],
)
def test_only_loopback_goes_without_tls_and_without_a_warning(host: str, warned: bool) -> None:
    warning = (
        f"warning: whoever reaches {host} can ask and watch, as there is no TLS. "
        "Give --tls-cert and --tls-key, or stay on --host 127.0.0.1"
    )
    assert exposure(host, tls=False) == (warning if warned else "")
    assert exposure(host, tls=True) == ""
