"""Where a webhook may go: nowhere inside. An address is looked up once, judged, and then used as it was judged.

A name could answer one address to the judge and another to the sender, so the connection goes to the judged number
itself, while Host and the certificate's name stay those of the name.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

PORTS = {"https": 443, "http": 80}


class ForbiddenAddress(ValueError):
    """A webhook may not go there; the text says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """A judged place: the number to connect to, the name it goes by, and the address with the number in it."""

    url: str
    host: str
    host_header: str


def checked_url(url: str, *, private_allowed: bool) -> SplitResult:
    """The parts of an address as it is entered. Raises ForbiddenAddress for what can be refused without looking up."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ForbiddenAddress("is no address") from error
    if parts.scheme not in (("https", "http") if private_allowed else ("https",)):
        raise ForbiddenAddress("has to begin with https://")
    if not parts.hostname or parts.username is not None or parts.password is not None or parts.fragment:
        raise ForbiddenAddress("needs a host and may hold neither user, password nor fragment")
    if port == 0 or not parts.hostname.isascii() or any(ord(letter) <= 32 for letter in url):
        raise ForbiddenAddress("is written with letters, digits and signs of ASCII")
    number = number_of(parts.hostname)
    if number is not None and not private_allowed and not is_public(number):
        raise ForbiddenAddress(f"{number} is no public address")
    return parts


def number_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that a host is written as, also in the old forms (127.1, 0x7f000001), or None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def is_public(number: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address belongs to the public internet; one that carries another inside is judged by that too."""
    if isinstance(number, ipaddress.IPv6Address):
        inside = [number.ipv4_mapped, number.sixtofour, *(number.teredo or ())]
        if number in NAT64:
            inside.append(ipaddress.IPv4Address(int(number) & 0xFFFF_FFFF))
        if any(one is not None and not one.is_global for one in inside):
            return False
    return number.is_global and not number.is_multicast


NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


async def target_of(url: str, *, private_allowed: bool) -> Target:
    """Looks an address up and judges every number it has. Raises ForbiddenAddress, and OSError when there is none."""
    parts = checked_url(url, private_allowed=private_allowed)
    host, port = str(parts.hostname), parts.port or PORTS[parts.scheme]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    chosen = _chosen([str(entry[4][0]) for entry in found], private_allowed=private_allowed)
    shown = f"[{chosen}]" if ":" in chosen else chosen
    return Target(parts._replace(netloc=f"{shown}:{port}").geturl(), host, parts.netloc)


def _chosen(numbers: Sequence[str], *, private_allowed: bool) -> str:
    if not private_allowed:
        for number in numbers:
            if not is_public(ipaddress.ip_address(number)):
                raise ForbiddenAddress(f"leads to {number}, which is no public address")
    return numbers[0]
