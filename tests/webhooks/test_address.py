"""Where a webhook may not go, however the address is written."""

from __future__ import annotations

import pytest

from app.webhooks.address import ForbiddenAddress, checked_url, target_of

INSIDE = (
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[fe80::1]",
    "[fd00::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:10.0.0.1]",
    "[2002:7f00:1::]",
    "[64:ff9b::7f00:1]",
)


@pytest.mark.parametrize("host", INSIDE)
def test_no_address_of_the_inside(host: str) -> None:
    with pytest.raises(ForbiddenAddress):
        checked_url(f"https://{host}/hook", private_allowed=False)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "file:///etc/passwd",
        "https://user:word@hooks.example.com/",
        "https://hooks.example.com/#part",
        "https:///hook",
        "https://hooks.example.com:0/",
        "https://hooks.example.com:99999/",
        "https://hooks.example.com/a b",
        "https://hooks.example.com/\r\nX: y",
        "https://ｈooks.example.com/",
        "https://[::1",
        "",
    ],
)
def test_no_address_that_is_written_strangely(url: str) -> None:
    with pytest.raises(ForbiddenAddress):
        checked_url(url, private_allowed=False)


async def test_a_name_that_leads_inside_is_refused_and_no_other_number_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Names:
        async def getaddrinfo(self, host: str, port: int, **_: object) -> list[tuple[object, ...]]:
            numbers = {"mixed.example.com": ("93.184.215.14", "10.0.0.1"), "good.example.com": ("93.184.215.14",)}
            return [(0, 0, 0, "", (number, port)) for number in numbers[host]]

    monkeypatch.setattr("app.webhooks.address.asyncio.get_running_loop", Names)
    with pytest.raises(ForbiddenAddress, match=r"10\.0\.0\.1"):
        await target_of("https://mixed.example.com/hook?a=1", private_allowed=False)
    target = await target_of("https://good.example.com:8443/hook?a=1", private_allowed=False)
    assert (target.url, target.host) == ("https://93.184.215.14:8443/hook?a=1", "good.example.com")
    assert target.host_header == "good.example.com:8443"


def test_a_public_address_and_with_leave_a_private_one() -> None:
    assert checked_url("https://93.184.215.14/hook", private_allowed=False).hostname == "93.184.215.14"
    assert checked_url("http://127.0.0.1:8000/hook", private_allowed=True).port == 8000
