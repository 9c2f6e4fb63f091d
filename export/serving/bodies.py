"""Bodies of REST requests: read up to a bound, decoded up to a bound.

aiohttp decodes a body as it comes, on the event loop and before anybody has looked at the token.
Here it is left as it is, and decoded once the request may have it: by zlib, which stops at the
bound, on a thread.
"""

from __future__ import annotations

import zlib

from aiohttp import web

from export.serving.bounds import too_large
from export.serving.errors import Code, ServingError

__all__ = ["decode", "encoding_of", "read"]

_ENCODINGS = ("gzip", "x-gzip", "deflate")
# Of gzip, one after the other; for each the rest of the body is copied once.
_MEMBERS = 16


async def read(request: web.BaseRequest, limit: int) -> bytes:
    """The body as it was sent.

    Args:
      request: its body is not read yet.
      limit: of bytes.

    Raises:
      ServingError: 413, at once where the headers say so.
      HttpProcessingError, RequestPayloadError: for a body that is framed wrongly.
    """
    if request.content_length is not None and request.content_length > limit:
        raise too_large(limit)
    parts, size = [], 0
    while part := await request.content.readany():
        size += len(part)
        if size > limit:
            raise too_large(limit)
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def encoding_of(request: web.BaseRequest) -> str:
    """gzip, deflate, or empty.

    Raises:
      ServingError: INVALID_ARGUMENT for any other Content-Encoding.
    """
    name = request.headers.get("Content-Encoding", "").strip().lower()
    if name in ("", "identity"):
        return ""
    if name not in _ENCODINGS:
        raise ServingError(
            Code.INVALID_ARGUMENT,
            f"The request's body does not end or decode as its headers say: Content-Encoding "
            f"{name[:40]!r} is not known. Choose one of: gzip, deflate, identity.",
        )
    return name.removeprefix("x-")


def decode(data: bytes, encoding: str, limit: int) -> bytes:
    """Undoes a Content-Encoding, to at most `limit` bytes.

    Raises:
      ServingError: 413 beyond the limit, INVALID_ARGUMENT for what does not decode.
    """
    if not encoding or not data:
        return data
    parts, left = [], limit
    while data:
        if len(parts) == _MEMBERS:
            raise _damaged(f"it has more than {_MEMBERS} members")
        window = 31
        if encoding == "deflate":  # with zlib's header, as the standard says, or without
            window = 15 if data[0] & 0x0F == 8 else -15
        decoder = zlib.decompressobj(window)
        try:
            parts.append(decoder.decompress(data, left + 1))
        except zlib.error as error:
            raise _damaged(error) from None
        left -= len(parts[-1])
        if left < 0:
            raise too_large(limit)
        if not decoder.eof:
            raise _damaged("it ends too early")
        data = decoder.unused_data
        if data and encoding == "deflate":
            raise _damaged("bytes follow its end")
    return b"".join(parts)


def _damaged(reason: object) -> ServingError:
    return ServingError(
        Code.INVALID_ARGUMENT,
        f"The request's body does not end or decode as its headers say: {reason}",
    )
