"""Predict: what REST and gRPC have in common, on NumPy arrays."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from export import runtime
from export.serving.batching import Scheduler
from export.serving.bounds import Bounds, Limits, bounds_of, check_reply
from export.serving.errors import Code, ServingError
from export.serving.versions import Models, Version

__all__ = ["DEFAULT_SIGNATURE", "LARGE", "Limits", "Predictor", "Target"]

DEFAULT_SIGNATURE = "serving_default"

# Bytes; handling more than that takes long enough to be done on a thread.
LARGE = 2**14
# Two, so that one large reply does not hold up all other large requests.
_WORKERS = 2

# TensorFlow writes each datum of a failed check in brackets.
_ASSERTION = re.compile(r"assertion failed: (\[.*)")


class Target(NamedTuple):
    """Which model a request means.

    Attributes:
      model: its name.
      version: its number; None for the newest.
      label: instead of a number.
    """

    model: str
    version: int | None = None
    label: str | None = None


class Predictor:
    """Answers requests from loaded versions.

    Args:
      models: the versions.
      scheduler: what runs them.
      limits: of a request.
    """

    def __init__(self, models: Models, scheduler: Scheduler, limits: Limits):
        self.models, self.scheduler, self.limits = models, scheduler, limits
        errors = runtime.import_tensorflow().errors
        self._invalid, self._exhausted = errors.InvalidArgumentError, errors.ResourceExhaustedError
        self._workers = ThreadPoolExecutor(_WORKERS, "work")

    async def off_loop(self, function: Callable[..., Any], *args: Any) -> Any:
        """What function(*args) returns, called on a thread: for what takes milliseconds."""
        return await asyncio.get_running_loop().run_in_executor(self._workers, function, *args)

    def close(self) -> None:
        """Ends the threads."""
        self._workers.shutdown(wait=False)

    def bounds(self, version: Version) -> Bounds:
        """What a request for a version is at most."""
        if version.bounds is None:
            version.bounds = bounds_of(version.served.signatures, self.limits)
        return version.bounds

    def guess_rows(self, version: Version, size: int) -> int:
        """The rows of a REST body of so many bytes, rather too few: as those of that size had."""
        return max(1, int(version.rows_by_size.get(size.bit_length(), 1)))

    def note_rows(self, version: Version, size: int, rows: int) -> None:
        """Learns how many rows a body had."""
        known = version.rows_by_size.get(size.bit_length(), rows)
        # The fewest there were, of which more and more is forgotten.
        version.rows_by_size[size.bit_length()] = min(1.1 * known, rows)

    def message_bytes(self) -> int:
        """Of a gRPC message for any of the loaded versions, at most."""
        loaded = (self.models.loaded(name).values() for name in self.models.names)
        versions = itertools.chain.from_iterable(loaded)
        return max((self.bounds(version).message_bytes for version in versions), default=0)

    def signature(self, version: Version, name: str) -> str:
        """The signature that a request means by `name`.

        Raises:
          ServingError: INVALID_ARGUMENT if there is none.
        """
        name = name or DEFAULT_SIGNATURE
        if name not in version.served.signatures:
            choices = ", ".join(sorted(version.served.signatures))
            raise ServingError(
                Code.INVALID_ARGUMENT,
                f'Serving signature name: "{name}" not found in signature def. There are: '
                f"{choices}",
            )
        return name

    async def run(
        self,
        version: Version,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        seconds: float | None = None,
    ) -> Mapping[str, np.ndarray]:
        """Calls a signature of a leased version.

        Args:
          version: held by the caller until this returns.
          signature: one of its.
          inputs: an array of its dtype for each input.
          seconds: until the client's deadline; None where it set none.

        Raises:
          ServingError: for wrong inputs, values that the graph refuses, a full queue, a
            deadline.
        """
        rows = check_inputs(version.served.signatures[signature], inputs, self.limits.rows)
        check_reply(rows, version.served.outputs[signature], self.limits)
        most = self.limits.seconds
        deadline = time.monotonic() + (most if seconds is None else min(most, seconds))
        key = (version.model, version.number, id(version), signature)

        def call(joined):
            return version.served.run(signature, joined)

        try:
            return await self.scheduler.submit(key, call, inputs, rows, deadline)
        except self._invalid as error:
            raise ServingError(Code.INVALID_ARGUMENT, _reason(error)) from None
        except self._exhausted as error:
            raise ServingError(Code.RESOURCE_EXHAUSTED, _reason(error)) from None


def check_inputs(specs: runtime.Specs, inputs: Mapping[str, np.ndarray], max_rows: int) -> int:
    """The number of rows of inputs that fit a signature.

    Raises:
      ServingError: INVALID_ARGUMENT.
    """
    if inputs.keys() != specs.keys():
        raise ServingError(
            Code.INVALID_ARGUMENT,
            f"input must have the keys: {','.join(sorted(specs))}. Instead found: "
            f"{','.join(sorted(itertools.islice(inputs, 20))) or 'none'}",
        )
    counts = set()
    for name, value in inputs.items():
        check_tensor(name, value.dtype, value.shape, specs, max_rows)
        counts.add(value.shape[0])
    if len(counts) > 1:
        raise ServingError(
            Code.INVALID_ARGUMENT,
            f"The inputs have {' and '.join(map(str, sorted(counts)))} rows; all need the same.",
        )
    return counts.pop()


def check_tensor(name: str, dtype, shape, specs: runtime.Specs, max_rows: int) -> None:
    """Raises ServingError unless a tensor of that dtype and shape fits the input `name`."""
    expected, dims = specs[name]
    if dtype != expected:
        raise ServingError(
            Code.INVALID_ARGUMENT, f"input {name} has type {dtype}, expected {expected}."
        )
    fits = len(shape) == len(dims)
    if not fits or any(d is not None and d != s for s, d in zip(shape, dims, strict=True)):
        wanted = ["n" if d is None else d for d in dims]
        raise ServingError(
            Code.INVALID_ARGUMENT,
            f"input {name} has shape {list(shape)}, expected [{', '.join(map(str, wanted))}].",
        )
    if not 1 <= shape[0] <= max_rows:
        raise ServingError(
            Code.INVALID_ARGUMENT,
            f"input {name} has {shape[0]} rows; a request takes 1 to {max_rows}.",
        )


def _reason(error) -> str:
    """What the graph's own check says, or the first line of TensorFlow's message."""
    if found := _ASSERTION.search(error.message):
        return found[1]
    return error.message.partition("\n")[0].strip() or "The model refused the values."
