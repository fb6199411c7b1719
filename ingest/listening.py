"""Where the service's own MQTT listener waits, and what it shows of itself there."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
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


class CertificateFiles:
    """The files a listener's context was made of, looked at again from time to time."""

    def __init__(self, at: ListenAt) -> None:
        self._at = at
        self._seen = self._stamp()
        self._useless = self._seen

    def renewed(self, *, asked: bool) -> ssl.SSLContext | None:
        """A new context if the files have changed since they were last read, or if it is asked for; else None.

        Raises OSError when they cannot be used, as when half of a new pair is there; the same files do so only once.
        """
        stamp = self._stamp()
        if not asked and stamp in (self._seen, self._useless):
            return None
        try:
            context = self._at.context()
        except OSError:
            self._useless = stamp
            raise
        self._seen = stamp
        return context

    def _stamp(self) -> Sequence[object]:
        """What is different once one of the files is written or another takes its name."""
        return [_stamp_of(file) for file in (self._at.certificate, self._at.key, self._at.client_ca) if file]


def _stamp_of(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def read_address(text: str) -> tuple[str, int, bool]:
    """Host, port and whether TLS is spoken, of `mqtt://host:port`, `mqtts://host:port` or `host:port`.

    Raises ValueError.
    """
    parts = urlsplit(text if "://" in text else f"mqtt://{text}")
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise ValueError("not mqtt://host:port or mqtts://host:port")
    port = parts.port  # raises ValueError beyond 65535
    return parts.hostname, DEFAULT_PORTS[parts.scheme] if port is None else port, parts.scheme == "mqtts"
