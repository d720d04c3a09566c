"""Which addresses are told, and which never."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

import pytest

from nephra_gateway.callbacks import (
    CallbackRefused,
    check_callback,
    is_public,
    look_up,
    permitted,
    resolved,
)
from nephra_gateway.settings import GatewaySettings

HOSTS = ("hooks.example", "other.example:8443", "10.0.0.7", "fd00::7")
STRICT = GatewaySettings(webhook_hosts=HOSTS)
PRIVATE = GatewaySettings(webhook_hosts=HOSTS, webhook_private=True)


@pytest.mark.parametrize(
    ("url", "authority", "target"),
    [
        ("https://hooks.example/a?b=c", "hooks.example", "/a?b=c"),
        ("HTTPS://Hooks.Example", "hooks.example", "/"),
        ("https://hooks.example:443/x", "hooks.example", "/x"),
        ("https://hooks.example:9000/%20x", "hooks.example:9000", "/%20x"),
        ("https://hooks.example?x", "hooks.example", "/?x"),
        ("https://other.example:8443/", "other.example:8443", "/"),
    ],
)
def test_named_hosts_are_allowed(url: str, authority: str, target: str) -> None:
    """Whole, as the settings name them, with any port or that one."""
    address = permitted(STRICT, url)
    assert address.authority == authority
    assert address.target == target


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example",
        "//hooks.example/",
        "http://hooks.example/",
        "ftp://hooks.example/",
        "file:///etc/passwd",
        "https://elsewhere.example/",
        "https://hooks.example.elsewhere.example/",
        "https://xhooks.example/",
        "https://other.example/",
        "https://other.example:8444/",
        "https://elsewhere.example/https://hooks.example/",
        "https://elsewhere.example#@hooks.example/",
        "https://hooks.example@elsewhere.example/",
        "https://user:pass@hooks.example/",
        "https://elsewhere.example\\@hooks.example/",
        "https://hooks.example\\.elsewhere.example/",
        "https://hooks.example:0/",
        "https://hooks.example:65536/",
        "https://hooks.example:99999999/",
        "https://hooks.example:\u0664\u0664\u0663/",
        "https://hooks.example:-1/",
        "https://hooks.example./",
        "https://hooks\u3002example/",
        "https://hooks.example/\r\nX: y",
        "https://hooks.example/ x",
        "https://hooks.example/#x",
        "https://hooks.example/\u00fc",
        " https://hooks.example/",
        "https://hooks.example/\n",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]/",
        "https://hooks.example/" + "a" * 2048,
    ],
)
def test_all_others_are_refused(url: str) -> None:
    """Also those that one reader of URLs, or another, would take for a named host."""
    with pytest.raises(CallbackRefused) as refused:
        check_callback(STRICT, url)
    assert refused.value.status == 422
    assert refused.value.code == "callback_refused"


def test_nobody_is_told_unless_the_settings_name_somebody() -> None:
    """By default there are no callbacks; requests without one are as before."""
    with pytest.raises(CallbackRefused):
        check_callback(GatewaySettings(), "https://hooks.example/")
    check_callback(GatewaySettings(), None)


def test_inside_of_a_network_plain_http_is_allowed() -> None:
    """Where who runs the gateway has said so; the host has to be named all the same."""
    assert permitted(PRIVATE, "http://10.0.0.7:8080/x").at(ip_address("10.0.0.7")) == (
        "http://10.0.0.7:8080/x"
    )
    assert permitted(PRIVATE, "http://[fd00::7]/x").authority == "[fd00::7]"
    with pytest.raises(CallbackRefused):
        permitted(PRIVATE, "http://10.0.0.8/")


INSIDE = [
    "0.0.0.0",
    "10.0.0.7",
    "100.64.1.1",
    "127.0.0.1",
    "127.8.8.8",
    "169.254.169.254",
    "172.16.0.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "ff02::1",
    "2001:db8::1",
]
OUTSIDE = ["93.184.216.34", "1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]


@pytest.mark.parametrize("number", INSIDE)
def test_a_name_that_leads_inside_is_refused(number: str) -> None:
    """Whichever of its addresses does: a name may have any, and change them at any time."""
    address = permitted(STRICT, "https://hooks.example/")

    async def resolve(host: str, port: int) -> list[str]:
        assert (host, port) == ("hooks.example", 443)
        return ["93.184.216.34", number]

    with pytest.raises(CallbackRefused):
        asyncio.run(resolved(STRICT, address, resolve))
    assert str(asyncio.run(resolved(PRIVATE, address, resolve))) == "93.184.216.34"


@pytest.mark.parametrize("number", OUTSIDE)
def test_a_name_that_leads_outside_is_connected_to_by_that_number(number: str) -> None:
    """The name is looked up once, and not again when the connection is made."""
    address = permitted(STRICT, "https://hooks.example:9000/x")

    async def resolve(host: str, port: int) -> list[str]:
        return [number]

    found = asyncio.run(resolved(STRICT, address, resolve))
    assert is_public(found)
    assert str(found) in address.at(found)
    assert "hooks.example" not in address.at(found)


def test_a_name_that_leads_nowhere_is_not_there() -> None:
    """As a host that does not answer."""

    async def resolve(host: str, port: int) -> list[str]:
        return []

    with pytest.raises(OSError, match="no address"):
        asyncio.run(resolved(STRICT, permitted(STRICT, "https://hooks.example/"), resolve))


def test_names_are_looked_up_as_the_machine_does() -> None:
    """Numbers need nobody's answer."""
    assert asyncio.run(look_up("127.0.0.1", 80)) == ["127.0.0.1"]
