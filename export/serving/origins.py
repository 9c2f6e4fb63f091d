"""Who may ask from a browser: names of this server, and origins of other pages.

A page of any site can make a browser send requests to 127.0.0.1. Without CORS headers it cannot
read the replies; but a site whose name is made to point to 127.0.0.1 (DNS rebinding) is of the same
origin as this server, and can. Such a request bears the site's name as its Host.
"""

from __future__ import annotations

import ipaddress
import urllib.parse
from collections.abc import Iterable, Mapping

from tf_mixed_nash.errors import InputError

__all__ = ["Origins", "is_loopback", "read_hosts", "read_origins"]

ANY = "*"
_METHODS = "GET, HEAD, POST, OPTIONS"
_ASKED_FOR = "Authorization, Content-Type, Content-Encoding"
_SECONDS = "600"


class Origins:
    """Checks names and writes CORS headers.

    Args:
      hosts: names by which the server may be asked, beside addresses, localhost and names without
        a dot, none of which anybody else can let point here; None or `*` allows all.
      origins: pages that may read replies, as scheme://host[:port]; `*` is all.
    """

    def __init__(self, hosts: Iterable[str] | None = None, origins: Iterable[str] = ()):
        self._hosts = None if hosts is None else frozenset(hosts)
        if self._hosts is not None and ANY in self._hosts:
            self._hosts = None
        self._origins = frozenset(origins)

    def allows_host(self, header: str | None) -> bool:
        """Whether a Host header names this server; a request without one comes from no browser."""
        if self._hosts is None or not header:
            return True
        name = _name_of(header)
        return "." not in name or name in self._hosts or _is_local(name)

    def headers(self, origin: str | None) -> Mapping[str, str]:
        """What a reply to a request with this Origin header needs, for its page to read it."""
        if origin is None or not self._origins:
            return {}
        if ANY in self._origins:
            return {"Access-Control-Allow-Origin": "*"}
        if origin.lower() not in self._origins:
            return {"Vary": "Origin"}
        return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}

    def preflight(self, origin: str | None) -> Mapping[str, str] | None:
        """The headers of the answer to OPTIONS; None where that page may not ask."""
        headers = self.headers(origin)
        if "Access-Control-Allow-Origin" not in headers:
            return None
        return {
            **headers,
            "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Allow-Headers": _ASKED_FOR,
            "Access-Control-Max-Age": _SECONDS,
        }


def _name_of(header: str) -> str:
    """The host of HOST[:PORT], without the brackets of an IPv6 address."""
    host = header.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")


def _is_local(name: str) -> bool:
    if name.endswith(".localhost"):  # by RFC 6761 never anybody else's
        return True
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def is_loopback(address: str) -> bool:
    """Whether an address can be reached from this machine only."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def read_hosts(text: str) -> list[str]:
    """The names in --allowed_hosts, separated by commas.

    Raises:
      InputError: for what is no name.
    """
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    for name in names:
        if name != ANY and (set("/:@ ") & set(name) or ANY in name):
            raise InputError(
                f"--allowed_hosts={text}: {name!r} is no name of a host. Expected names such as "
                "models.example.org, without scheme and port, separated by commas, or * for any."
            )
    return names


def read_origins(text: str) -> list[str]:
    """The origins in --cors_origins, separated by commas.

    Raises:
      InputError: for what is no origin.
    """
    origins = [origin.strip().lower() for origin in text.split(",") if origin.strip()]
    for origin in origins:
        parts = urllib.parse.urlsplit(origin) if origin != ANY else None
        if parts and (
            not parts.netloc or "@" in parts.netloc or f"{parts.scheme}://{parts.netloc}" != origin
        ):
            raise InputError(
                f"--cors_origins={text}: {origin!r} is no origin. Expected scheme://host[:port], "
                "such as https://app.example.org, separated by commas, or * for any."
            )
    return origins
