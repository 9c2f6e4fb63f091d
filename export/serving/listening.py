"""What --host means, for both protocols."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

from tf_mixed_nash.errors import InputError

__all__ = ["ANY", "in_url", "listen", "resolve"]

# Every address of the machine, of IPv4 and IPv6.
ANY = "::"
_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_ANY_NAMES = ("", "*", "0.0.0.0", ANY)  # what a user may ask for


def resolve(host: str) -> list[str]:
    """The addresses to listen at: those of a name, or ANY.

    An address that this machine does not have is passed over, unless there is no other: a name may
    stand for ::1 where there is no IPv6.

    Raises:
      InputError: for a name that has none.
    """
    host = host.strip("[]")
    if host in _ANY_NAMES:
        return [ANY]
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"--host={host} has no address ({error}). Expected a name or an address of this "
            "machine, or 0.0.0.0 for all."
        ) from None
    addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    return list(filter(_is_here, addresses)) or addresses


def in_url(host: str) -> str:
    """A host as it stands before :port."""
    host = host.strip("[]")
    return f"[{host}]" if ":" in host else host


def listen(addresses: Sequence[str], port: int) -> list[socket.socket]:
    """Sockets that listen at a port of each address, the same one if it is 0.

    Raises:
      OSError: if one is taken.
    """
    made: list[socket.socket] = []
    try:
        for address in addresses:
            made.append(_listen(address, port))
            port = made[0].getsockname()[1]
    except BaseException:
        for one in made:
            one.close()
        raise
    return made


def _is_here(address: str) -> bool:
    try:
        _listen(address, 0).close()
    except OSError as error:
        return error.errno not in _ABSENT
    return True


def _listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    if address == ANY:
        try:
            return _bound(family, address, port, both=True)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
        family, address = socket.AF_INET, "0.0.0.0"  # there is no IPv6
    return _bound(family, address, port)


def _bound(family: int, address: str, port: int, both: bool = False) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not both))
        one.bind(socket.getaddrinfo(address, port, family, socket.SOCK_STREAM)[0][4])
        one.listen(1024)
        one.setblocking(False)
    except BaseException:
        one.close()
        raise
    return one
