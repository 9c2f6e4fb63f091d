"""TF Serving's JSON: requests to arrays, arrays to replies.

Row form: {"instances": [...]} -> {"predictions": [...]}; columnar form: {"inputs": ...} ->
{"outputs": ...}. Where a signature has one input (output), its values stand there without a name.
Bytes are {"b64": "..."}; outputs whose names end in _bytes are given so.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from export.runtime import Specs
from export.serving.errors import Code, ServingError

__all__ = ["dump", "load", "read_inputs", "write_outputs"]

_FLOAT32_EXACT = 2**24


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
        raise _bad(f"JSON Parse error: {error}") from None
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
        shown = ",".join(sorted(given))[:200] or "none"
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
        fits = bool((np.abs(array) <= np.finfo(dtype).max).all())
    else:
        fits = bool((np.abs(array.astype(np.float64)) < _FLOAT32_EXACT).all())
    if not fits:
        raise _bad(f"input {name} has values that {dtype} cannot hold without loss of precision")
    return array.astype(dtype)


def write_outputs(outputs: Mapping[str, np.ndarray], by_row: bool) -> bytes:
    """The reply of a Predict request.

    Args:
      outputs: arrays of equally many rows.
      by_row: whether the request was in row form.
    """
    columns = {name: _jsonable(name, value) for name, value in outputs.items()}
    if len(columns) == 1:
        (content,) = columns.values()
    elif by_row:
        names = list(columns)
        content = [
            dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ]
    else:
        content = columns
    return dump({"predictions" if by_row else "outputs": content})


def dump(content: Any) -> bytes:
    """JSON; NumPy arrays and numbers as their shortest exact decimals."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)


def _jsonable(name: str, value: np.ndarray):
    if value.dtype != object:
        return np.ascontiguousarray(value)
    if name.endswith("_bytes"):
        return [{"b64": base64.b64encode(x).decode()} for x in value]
    return [x.decode("utf-8", "replace") for x in value]


def _bad(message: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, message)
