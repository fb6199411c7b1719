"""Where the service's own MQTT listener waits, and what it shows of itself there."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True)
class ListenAt:
    """Where to listen, and with `tls` also the server's certificate and who signs the gateways' certificates."""

    host: str
    port: int
    tls: bool = False
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None

    def context(self) -> ssl.SSLContext | None:
        """Raises OSError (ssl.SSLError is one) when a file cannot be read or is none."""
        if not self.tls or self.certificate is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.key)
        if self.client_ca is not None:
            context.load_verify_locations(self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def read_address(text: str) -> tuple[str, int, bool]:
    """Host, port and whether TLS is spoken, of `mqtt://host:port`, `mqtts://host:port` or `host:port`.

    Raises ValueError.
    """
    parts = urlsplit(text if "://" in text else f"mqtt://{text}")
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise ValueError("not mqtt://host:port or mqtts://host:port")
    port = parts.port  # raises ValueError beyond 65535
    return parts.hostname, DEFAULT_PORTS[parts.scheme] if port is None else port, parts.scheme == "mqtts"
