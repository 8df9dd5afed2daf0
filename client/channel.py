"""Where a server is and how it is reached: address, TLS, token, and the settings of the gRPC channel."""

import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from client import contract
from client.errors import ServerUnavailable, UsageError

SERVICE_CONFIG = """{"loadBalancingConfig": [{"round_robin": {}}], "methodConfig": [{"name": [{}], "retryPolicy": {
 "maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
 "retryableStatusCodes": ["UNAVAILABLE"]}}]}"""
OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.service_config", SERVICE_CONFIG),
    ("grpc.primary_user_agent", "mnist-digits"),
    ("grpc.enable_http_proxy", 0),  # http_proxy in the environment is for the web, not for a model server
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),  # gRPC's two minutes would outlast a server's restart
    ("grpc.keepalive_time_ms", 60_000),  # finds a dead peer under a long --timeout
    ("grpc.keepalive_timeout_ms", 10_000),
)
DNS = "dns:///"

File = str | os.PathLike[str]


@dataclass(frozen=True)
class Security:
    """How a connection is protected. Files are PEM; a `ca`, or `cert` with `key` (mTLS), implies TLS.

    `token` goes with every call as `authorization: Bearer`, and only over TLS. Raises UsageError for half a setting.
    """

    tls: bool = False
    ca: File | None = None
    cert: File | None = None
    key: File | None = None
    token: str | None = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise UsageError("a client certificate needs both: give --cert and --key")
        if self.token and not self.encrypted:
            raise UsageError("a token would travel in clear text: give --tls or --ca with it")
        if self.token and not (isinstance(self.token, str) and self.token.isascii() and self.token.isprintable()):
            raise UsageError("a token is printable ASCII: take line ends and other characters out")

    def __repr__(self) -> str:
        return f"Security(encrypted={self.encrypted})"  # never the token

    @property
    def encrypted(self) -> bool:
        """Whether TLS is used."""
        return self.tls or self.ca is not None or self.cert is not None

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files. Raises UsageError when one is missing, or is something else."""
        channel = grpc.ssl_channel_credentials(_read("ca", self.ca), _read("key", self.key), _read("cert", self.cert))
        self._check()
        if not self.token:
            return channel
        return grpc.composite_channel_credentials(channel, grpc.access_token_call_credentials(self.token))

    def _check(self) -> None:
        """Let OpenSSL look at the files: gRPC takes anything, and then finds no server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_ciphers("ALL:@SECLEVEL=0")  # whether a key is long enough is for gRPC to say
        wrong = f"{self.ca} holds no certificate. Give a PEM file"
        try:
            if self.ca is not None:
                context.load_verify_locations(self.ca)
            wrong = f"{self.cert} and {self.key} are no certificate and its private key. Give PEM files, no passphrase"
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key, password="")  # or it would ask for one
        except ssl.SSLError as error:
            raise UsageError(wrong) from error


def _read(name: str, path: File | None) -> bytes | None:
    if path is None:
        return None
    if not path or not isinstance(path, str | os.PathLike):  # of a setting that is not there
        raise UsageError(f"{name} {path!r}: give the path of a PEM file")
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}. Give a PEM file") from error


def full_address(server: str) -> str:
    """Complete an address as messages name it: HOST[:PORT], several with commas, or dns:///NAME. Raises UsageError."""
    if not isinstance(server, str):  # a port alone, or None, of a setting that is not there
        raise UsageError(f"server {server!r}: give HOST:PORT, for example 127.0.0.1:8500")
    if "://" in server.removeprefix(DNS):
        raise UsageError(f"server {server}: give HOST:PORT without a scheme, for example 127.0.0.1:8500")
    names = [part.strip() for part in server.removeprefix(DNS).split(",")]
    if not all(names) or not "".join(names).isprintable() or (server.startswith(DNS) and len(names) > 1):
        raise UsageError(f"server {server or 'empty'}: give HOST:PORT, or several with commas between them")
    return (DNS if server.startswith(DNS) else "") + ",".join(map(_with_port, names))


def _with_port(name: str) -> str:
    if name.startswith("unix:"):
        return name
    if name.count(":") > 1 and name[0] != "[":
        name = f"[{name}]"  # IPv6
    full = name if ":" in name.rpartition("]")[2] else f"{name}:{contract.GRPC_PORT}"
    host, _, port = full.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(port) < 1 << 16):
        raise UsageError(f"server {name}: give HOST:PORT, for example 127.0.0.1:8500")
    return full


def connect(api: Any, server: str, security: Security) -> Any:
    """Open a channel of `api`, which is grpc or grpc.aio. Calls go round all addresses that answer.

    Raises UsageError, and ServerUnavailable when none of several names resolves.
    """
    target, options = server, OPTIONS
    if "," in server:
        first = server.partition(",")[0]
        target, options = _together(server.split(",")), (*OPTIONS, ("grpc.default_authority", first))
    if security.encrypted:
        return api.secure_channel(target, security.credentials(), options)
    return api.insecure_channel(target, options)


def _together(names: list[str]) -> str:
    """Give several addresses as one target, which gRPC takes as numbers of one kind only."""
    found = [(number, name.rpartition(":")[2]) for name in names if (number := _resolve(name.rpartition(":")[0]))]
    if not found:
        raise ServerUnavailable(f"none of {', '.join(names)} resolves. Give addresses as --server", "UNAVAILABLE")
    if not any(":" in number for number, _ in found):
        return "ipv4:" + ",".join(f"{number}:{port}" for number, port in found)
    mapped = [(number if ":" in number else f"::ffff:{number}", port) for number, port in found]  # RFC 4291, 2.5.5.2
    return "ipv6:" + ",".join(f"[{number}]:{port}" for number, port in mapped)


def _resolve(host: str) -> str | None:
    """Give the address of a host, of IPv4 if it has one. A replica that is gone does not keep others from answering."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return None
    return str(min(found, key=lambda one: one[0] != socket.AF_INET)[4][0])
