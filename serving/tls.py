"""TLS and mutual TLS for gRPC and REST; certificates that change on disk are used from the next connection on."""

import ipaddress
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc

from client.errors import DigitsError
from serving.complaints import Complaints
from serving.logs import Log
from serving.versions import identify


@dataclass(frozen=True)
class _Loaded:
    """The files' content as each protocol wants it."""

    http: ssl.SSLContext
    grpc: grpc.ServerCertificateConfiguration


class Certificates:
    """The server's certificate chain and key, and whose clients are let in: with `client_ca`, only those it signed.

    Raises DigitsError for files that cannot be used. Later that costs a line in the log, and the old ones stay in use.
    """

    def __init__(self, cert: Path, key: Path, client_ca: Path | None, log: Log) -> None:
        self._cert, self._key, self._client_ca, self._log = cert, key, client_ca, log
        self._complaints, self._lock = Complaints(log), threading.Lock()
        self._seen = self._stamp()
        self._loaded = self._given_to_grpc = self._load()

    def for_grpc(self) -> grpc.ServerCredentials:
        """Give gRPC's credentials, which look for new files at each connection."""
        return grpc.dynamic_ssl_server_credentials(self._loaded.grpc, self._new_for_grpc, bool(self._client_ca))  # type: ignore[arg-type]

    def for_http(self) -> ssl.SSLContext:
        """Give a context that hands each connection to the context of the newest files."""
        context = self._loaded.http

        def use_newest(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
            connection.context = self._newest().http

        context.sni_callback = use_newest
        return context

    def _new_for_grpc(self) -> grpc.ServerCertificateConfiguration | None:
        newest = self._newest()
        if newest is self._given_to_grpc:
            return None
        self._given_to_grpc = newest
        return newest.grpc

    def _newest(self) -> _Loaded:
        with self._lock:
            if (stamp := self._stamp()) == self._seen:
                self._complaints.over("")
            elif self._reload():
                self._seen = stamp
            return self._loaded

    def _reload(self) -> bool:
        try:
            self._loaded = self._load()
        except DigitsError as error:
            self._complaints.say("", f"error: {error} The certificate from before stays in use.")
            return False
        self._complaints.over("")
        self._log(f"{self._cert}: the new certificate is in use")
        return True

    def _stamp(self) -> list[tuple[int, ...]]:
        """Identify the state of the files."""
        return [identify(file) for file in (self._cert, self._key, self._client_ca) if file]

    def _load(self) -> _Loaded:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self._cert, self._key, password="")  # never asks at the terminal
            if self._client_ca:
                context.load_verify_locations(self._client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
                # No sessions are resumed: they would outlive the CA. Python cannot turn off those of TLS 1.2.
                context.num_tickets = 0
                context.minimum_version = ssl.TLSVersion.TLSv1_3
            pair = (self._key.read_bytes(), self._cert.read_bytes())
            client_ca = self._client_ca.read_bytes() if self._client_ca else None
            _try_with_grpc(pair, client_ca)
        except (OSError, ValueError) as error:  # SSLError is an OSError
            reason = getattr(error, "strerror", None) or error
            names = ", ".join(str(name) for name in (self._cert, self._key, self._client_ca) if name)
            raise DigitsError(
                f"cannot use {names}: {reason}. Give PEM files: a certificate chain, its key without a password, and "
                "the CA of the clients."
            ) from None
        return _Loaded(context, grpc.ssl_server_certificate_configuration([pair], client_ca))


def _try_with_grpc(pair: tuple[bytes, bytes], client_ca: bytes | None) -> None:
    """Raise ValueError for what gRPC cannot use: at a renewal it would drop it in silence and go on with the old ones.

    A server on a free port is the only one to tell; 20 ms. Where there is none, nothing is told.
    """
    server = grpc.server(ThreadPoolExecutor())
    try:
        server.add_insecure_port("127.0.0.1:0")
    except RuntimeError:
        return
    try:
        server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair], client_ca, bool(client_ca)))
    except RuntimeError:
        raise ValueError(
            "gRPC refuses what OpenSSL takes, such as a byte order mark or a key other than RSA, P-256 and P-384"
        ) from None
    finally:
        server.start()  # one that was never started keeps its port
        server.stop(None)


def exposure(host: str, *, tls: bool) -> str:
    """Warn of an address that others reach, without TLS; empty when there is nothing to warn of."""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if loopback or tls:
        return ""
    return (
        f"warning: whoever reaches {host} can ask and watch, as there is no TLS. "
        "Give --tls-cert and --tls-key, or stay on --host 127.0.0.1"
    )
