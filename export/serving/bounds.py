"""What a request may cost at most, worked out from what a version can use.

A request of the most rows is so many values of known types. What is far larger in bytes, decoded,
or holds far more values, is no such request, and is refused before it is parsed: parsing is what a
hostile body makes expensive. Five million empty lists are 15 kB of gzip, and seconds of a core.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from export.runtime import Specs
from export.serving.errors import Code, ServingError

__all__ = ["Bounds", "Limits", "bounds_of", "check_reply", "check_values", "too_large"]

# Of JSON a number takes at most 25 characters; the rest is for blanks and line breaks.
_JSON_BYTES_OF_A_VALUE = 64
# A varint of an int64; float32 and float64 take less.
_MESSAGE_BYTES_OF_A_VALUE = 10
# Whatever the model is, so much is cheap: a few milliseconds.
_LEAST_JSON_BYTES = 2**20
_LEAST_JSON_VALUES = 2**16
_LEAST_MESSAGE_BYTES = 2**18


class Limits(NamedTuple):
    """What one request may ask for.

    Attributes:
      rows: at most.
      body_bytes: of a request, at most.
      seconds: until it must be answered, at most.
      reply_bytes: of a reply's arrays, at most.
    """

    rows: int = 1024
    body_bytes: int = 16 * 2**20
    seconds: float = 30.0
    reply_bytes: int = 64 * 2**20


class Bounds(NamedTuple):
    """What a request for one version is at most.

    Attributes:
      json_bytes: of a decoded REST body.
      json_values: in it: commas and opening brackets.
      message_bytes: of a gRPC message.
    """

    json_bytes: int
    json_values: int
    message_bytes: int


def bounds_of(signatures: Mapping[str, Specs], limits: Limits) -> Bounds:
    """The bounds of a version with these signatures.

    Generously what `limits.rows` rows of the signature with the largest rows need, and not below
    what is cheap anyway; never above `limits.body_bytes`. A signature whose rows have any size is
    bounded by that alone.
    """
    values = json_bytes = message_bytes = 0
    for specs in signatures.values():
        sizes = {name: _elements(shape) for name, (_, shape) in specs.items()}
        if None in sizes.values():
            values = json_bytes = message_bytes = limits.body_bytes
            break
        counts = [size for size in sizes.values() if size is not None]
        names = sum(map(len, sizes))
        values = max(values, sum(count + 2 for count in counts))
        json_bytes = max(json_bytes, _JSON_BYTES_OF_A_VALUE * sum(c + 1 for c in counts) + names)
        message_bytes = max(message_bytes, _MESSAGE_BYTES_OF_A_VALUE * sum(counts))
    return Bounds(
        min(limits.body_bytes, max(_LEAST_JSON_BYTES, limits.rows * json_bytes)),
        min(limits.body_bytes, max(_LEAST_JSON_VALUES, 2 * limits.rows * values)),
        min(limits.body_bytes, max(_LEAST_MESSAGE_BYTES, 2 * limits.rows * message_bytes)),
    )


def _elements(shape: Iterable[int | None]) -> int | None:
    """The values of one row; None for any number."""
    sizes = list(shape)[1:]
    return None if None in sizes else math.prod(s for s in sizes if s is not None)


def check_values(body: bytes, bounds: Bounds, limits: Limits) -> None:
    """Raises ServingError for JSON of more values than a request can use.

    It counts commas and brackets, which takes a thousandth of the time of parsing them.
    """
    if body.count(b",") + body.count(b"[") + body.count(b"{") > bounds.json_values:
        raise ServingError(
            Code.INVALID_ARGUMENT,
            f"The request holds more than {bounds.json_values} values; a request takes 1 to "
            f"{limits.rows} rows.",
        )


def check_reply(rows: int, outputs: Specs, limits: Limits) -> None:
    """Raises ServingError if the arrays of so many rows are larger than a reply may be.

    Args:
      rows: of the request.
      outputs: of the signature; strings, such as PNGs, count nothing.
      limits: of a request.
    """
    if rows == 1:
        return
    row = sum(
        (_elements(shape) or 0) * np.dtype(dtype).itemsize
        for dtype, shape in outputs.values()
        if dtype != np.dtype(object)
    )
    if rows * row > limits.reply_bytes:
        most = max(1, limits.reply_bytes // row)
        raise ServingError(
            Code.INVALID_ARGUMENT,
            f"The reply to {rows} rows would have {rows * row} bytes, and may have "
            f"{limits.reply_bytes}: ask for at most {most} rows at once, or for PNGs.",
        )


def too_large(limit: int) -> ServingError:
    """The error for a body of more than `limit` bytes."""
    return ServingError(
        Code.RESOURCE_EXHAUSTED,
        f"Request Entity Too Large: a body may have {limit} bytes, decoded.",
        http=413,
    )
