"""TLS towards the server: whom to trust, and who we are if the server wants to know."""

from dataclasses import dataclass
from pathlib import Path

import grpc

from client.errors import UsageError


@dataclass(frozen=True)
class Tls:
    """PEM files: the CA that signed the server's certificate (default: those that everybody trusts), and for mutual TLS
    the client's own certificate chain and key.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files. Raises UsageError when one cannot be read, or a certificate comes without its key."""
        if (self.cert is None) != (self.key is None):
            raise UsageError("a certificate and its key go together: give both --tls-cert and --tls-key")
        ca, key, cert = (_read(path) for path in (self.ca, self.key, self.cert))
        return grpc.ssl_channel_credentials(ca, key, cert)


def _read(path: Path | None) -> bytes | None:
    try:
        return path.read_bytes() if path else None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}. Give a PEM file") from None
