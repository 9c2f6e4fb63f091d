"""TF Serving's JSON: requests to arrays, arrays to replies.

Row form: {"instances": [...]} -> {"predictions": [...]}; columnar form: {"inputs": ...} ->
{"outputs": ...}. Where a signature has one input (output), its values stand there without a name.
Bytes are {"b64": "..."}; outputs whose names end in _bytes are given so. What is not finite are the
words NaN, Infinity and -Infinity, in requests and in replies, as TF Serving's documentation has it.
"""

from __future__ import annotations

import base64
import itertools
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from export.runtime import Specs
from export.serving.errors import Code, ServingError

__all__ = ["dump", "load", "read_inputs", "write_outputs"]

_FLOAT32_EXACT = 2**24
_PIECE = 2**16  # numbers: orjson writes so many in two or three milliseconds
_WORDS = {"nan": b"NaN", "inf": b"Infinity", "-inf": b"-Infinity"}


def load(body: bytes) -> dict[str, Any]:
    """The JSON object of a request.

    Raises:
      ServingError: INVALID_ARGUMENT if it is none, or names a signature that is no string.
    """
    if not body:
        raise _bad("JSON Parse error: The document is empty")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if b"NaN" not in body and b"Infinity" not in body:
            raise _bad(f"JSON Parse error: {error}") from None
        document = _load_with_constants(body)
    if not isinstance(document, dict):
        raise _bad("The request is not a JSON object")
    if not isinstance(document.get("signature_name", ""), str):
        raise _bad("'signature_name' key must be a string value.")
    if ("instances" in document) == ("inputs" in document):
        raise _bad(
            "Missing 'inputs' or 'instances' key"
            if "inputs" not in document
            else "expecting only one of 'inputs' or 'instances' keys to exist"
        )
    return document


def _load_with_constants(body: bytes) -> Any:
    """JSON with the words NaN, Infinity and -Infinity for numbers, as TF Serving takes it."""
    try:
        return json.loads(body.decode(), parse_float=_finite, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise _bad(f"JSON Parse error: {error}") from None


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"number is infinity when parsed as double: {text[:40]}")
    return value


def _whole(text: str) -> int | float:
    return int(text) if len(text) < 20 else _finite(text)


def read_inputs(document: Mapping[str, Any], specs: Specs) -> dict[str, np.ndarray]:
    """The inputs of a signature.

    Args:
      document: from `load`.
      specs: of the signature's inputs.

    Raises:
      ServingError: INVALID_ARGUMENT for missing or extra names, ragged lists, values of another
        type, or numbers that the type cannot hold.
    """
    columns = _columns(document, specs)
    return {name: _array(name, columns[name], specs[name][0]) for name in specs}


def _columns(document: Mapping[str, Any], specs: Specs) -> Mapping[str, Any]:
    names = sorted(specs)
    if "inputs" in document:
        inputs = document["inputs"]
        if not isinstance(inputs, dict):
            return {_only(names, "inputs is a plain value/list"): inputs}
        return _same_names(inputs, names, "'inputs'")
    rows = document["instances"]
    if not isinstance(rows, list):
        raise _bad("Expecting 'instances' to be a list/array")
    if not rows:
        raise _bad("No values in 'instances' array")
    named = isinstance(rows[0], dict)
    if not named:
        _only(names, "instances is a plain list")
    for i, row in enumerate(rows):
        if isinstance(row, dict) != named:
            raise _bad(f"Expecting {'object' if named else 'value/list'} at item {i} of instances")
        if named:
            _same_names(row, names, f"item {i} of instances")
    return {n: [row[n] for row in rows] for n in names} if named else {names[0]: rows}


def _only(names: list[str], what: str) -> str:
    if len(names) > 1:
        raise _bad(
            f"{what}, but expecting an object as multiple input tensors are required: "
            f"{', '.join(names)}"
        )
    return names[0]


def _same_names(given: Mapping[str, Any], names: list[str], where: str) -> Mapping[str, Any]:
    if given.keys() != set(names):
        shown = ",".join(sorted(itertools.islice(given, 20)))[:200] or "none"
        raise _bad(f"The keys of {where} must be equal to: {','.join(names)}. Got: {shown}")
    return given


def _array(name: str, value: Any, dtype: np.dtype) -> np.ndarray:
    # By type first: NumPy takes true for 1 in a list of numbers, and gives every string of a list
    # the length of the longest, so that a small request could claim any memory.
    level, types = [value], {type(value)}
    while types == {list}:
        level = list(itertools.chain.from_iterable(level))
        types = set(map(type, level))
    if list in types:
        raise _bad(f"input {name} is a list of lists of different sizes")
    if not types:
        raise _bad(f"input {name} holds no value")
    if not types <= ({int} if dtype.kind == "i" else {int, float}):
        raise _bad(f"input {name} has values that are not of expected type: {dtype}")
    try:
        array = np.array(value)
    except ValueError:  # ragged, or nested too deeply
        raise _bad(f"input {name} is a list of lists of different sizes") from None
    if array.dtype.kind not in ("iu" if dtype.kind == "i" else "iuf"):  # -1 beside 2**63
        raise _bad(f"input {name} has values that are not of expected type: {dtype}")
    if array.dtype == dtype == np.int64:
        return array
    if dtype.kind == "i":
        info = np.iinfo(dtype)
        fits = info.min <= array.min() and array.max() <= info.max
    elif array.dtype.kind == "f":
        # NaN and infinity are values of the type; a finite number must not become one.
        fits = not (np.isfinite(array) & (np.abs(array) > np.finfo(dtype).max)).any()
    else:
        fits = bool((np.abs(array.astype(np.float64)) < _FLOAT32_EXACT).all())
    if not fits:
        raise _bad(f"input {name} has values that {dtype} cannot hold without loss of precision")
    return array.astype(dtype)


def write_outputs(outputs: Mapping[str, np.ndarray], by_row: bool) -> bytes:
    """The reply of a Predict request.

    It is made in pieces of some ten thousand numbers, between which other threads run.

    Args:
      outputs: arrays of equally many rows.
      by_row: whether the request was in row form.
    """
    if len(outputs) == 1:
        ((name, value),) = outputs.items()
        content = _rows(name, value)
    elif by_row:
        content = _named_rows(outputs)
    else:
        columns = (dump(name) + b":" + _rows(name, value) for name, value in outputs.items())
        content = b"{" + b",".join(columns) + b"}"
    return (b'{"predictions":' if by_row else b'{"outputs":') + content + b"}"


def _rows(name: str, value: np.ndarray) -> bytes:
    """A list of rows."""
    step = max(1, _PIECE * len(value) // max(1, value.size))
    pieces = (_values(name, value[a : a + step])[1:-1] for a in range(0, len(value), step))
    return b"[" + b",".join(pieces) + b"]"


def _named_rows(outputs: Mapping[str, np.ndarray]) -> bytes:
    """A list of objects, a value of each output in each."""
    keys = [dump(name) + b":" for name in outputs]
    columns = [[_values(name, row) for row in value] for name, value in outputs.items()]
    rows = (
        b"{" + b",".join(map(bytes.__add__, keys, row)) + b"}" for row in zip(*columns, strict=True)
    )
    return b"[" + b",".join(rows) + b"]"


def _values(name: str, value: Any) -> bytes:
    """JSON of an array or a scalar; what is not finite are words, as TF Serving writes it."""
    if isinstance(value, bytes):
        return dump(_text(name, value))
    if value.dtype == object:
        return dump([_text(name, x) for x in value])
    text = dump(np.ascontiguousarray(value) if value.ndim else value[()])
    if value.dtype.kind != "f" or np.isfinite(value).all():
        return text
    # Numbers are all there is, so each null is one of these.
    words = (_WORDS[str(x)] for x in value[~np.isfinite(value)].ravel())
    pieces = text.split(b"null")
    return b"".join(itertools.chain(*itertools.zip_longest(pieces, words, fillvalue=b"")))


def dump(content: Any) -> bytes:
    """JSON; NumPy arrays and numbers as their shortest exact decimals."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)


def _text(name: str, value: bytes) -> Any:
    if name.endswith("_bytes"):
        return {"b64": base64.b64encode(value).decode()}
    return value.decode("utf-8", "replace")


def _bad(message: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, message)
