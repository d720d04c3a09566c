"""Which addresses may be told of what has ended: those the settings name, and no others.

Whoever may ask for work may name any address. The gateway stands inside of networks that the
caller does not reach, so that an address is judged twice: by its name when it is named, and by
what the name leads to at the moment when it is connected to, by that very number.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from nephra_contract.errors import Unprocessable
from nephra_gateway.settings import GatewaySettings

Resolve = Callable[[str, int], Awaitable[list[str]]]
Number = IPv4Address | IPv6Address

_MAX_CHARS = 2048
_PORTS = {"https": 443, "http": 80}

#: Strict: what different readers of URLs understand differently is understood by none here.
_URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>(?:[/?][A-Za-z0-9._~:/?@!$&'()*+,;=%-]*)?)",
    re.IGNORECASE,
)

#: Their lower half is an IPv4 address: reached through a translator.
_TRANSLATED = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))


class CallbackRefused(Unprocessable):
    """An address that this gateway tells nothing."""

    default_code = "callback_refused"
    title = "Callback refused"


@dataclass(frozen=True)
class Address:
    """Where a message goes.

    Args:
        scheme: `http` or `https`.
        host: its name, in lower case; a number without brackets.
        port: always given.
        target: path and query.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """The host, and its port if it is not the usual one."""
        usual = self.port == _PORTS[self.scheme]
        return _bracketed(self.host) if usual else f"{_bracketed(self.host)}:{self.port}"

    def at(self, number: Number) -> str:
        """The URL, with a number instead of the name."""
        return f"{self.scheme}://{_bracketed(str(number))}:{self.port}{self.target}"


def check_callback(settings: GatewaySettings, url: str | None) -> None:
    """Judge the address that a request names, before any work starts.

    Raises:
        CallbackRefused: this gateway does not tell that one.
    """
    if url is not None:
        permitted(settings, url)


def permitted(settings: GatewaySettings, url: str) -> Address:
    """The address of a URL that the settings allow.

    Raises:
        CallbackRefused: they do not.
    """
    match = _URL.fullmatch(url) if len(url) <= _MAX_CHARS else None
    if match is None:
        raise _refused("The callback is no plain http(s) URL.")
    scheme, host = match["scheme"].lower(), match["host"].lower().strip("[]")
    port = int(match["port"] or _PORTS[scheme])
    if scheme == "http" and not settings.webhook_private:
        raise _refused("The callback is not https.")
    if not 0 < port < 2**16:
        raise _refused("The callback has no port that there is.")
    if not {host, f"{_bracketed(host)}:{port}"} & {h.lower() for h in settings.webhook_hosts}:
        raise _refused("The callback's host is not one that this gateway tells.")
    target = match["target"] or "/"
    return Address(scheme, host, port, target if target[0] == "/" else f"/{target}")


async def resolved(settings: GatewaySettings, address: Address, resolve: Resolve) -> Number:
    """The number that is connected to.

    Raises:
        CallbackRefused: any of the host's numbers is of a network that is not the public one.
        OSError: it has none.
    """
    numbers = [_number(text) for text in await resolve(address.host, address.port)]
    if not numbers:
        raise OSError("the host has no address")
    if not settings.webhook_private and not all(is_public(number) for number in numbers):
        raise _refused("The callback's host is not in the public network.")
    return numbers[0]


async def look_up(host: str, port: int) -> list[str]:
    """The numbers of a host, as this machine finds them."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def is_public(number: Number) -> bool:
    """Whether anybody could reach it: no private, local, shared, reserved or translated one."""
    if isinstance(number, IPv6Address):
        inner = number.ipv4_mapped or number.sixtofour or (number.teredo or (None, None))[1]
        if inner is None and any(number in network for network in _TRANSLATED):
            inner = IPv4Address(int(number) & 0xFFFFFFFF)
        if inner is not None and not is_public(inner):
            return False
        if number.ipv4_mapped is not None:
            return True
    return number.is_global and not number.is_multicast


def _number(text: str) -> Number:
    return ip_address(text.partition("%")[0])


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _refused(why: str) -> CallbackRefused:
    return CallbackRefused(
        why, "Name an https address at a host that who runs this gateway has allowed."
    )
