"""XLA's flags for deterministic programs on GPUs, and when it is to time its kernels.

With deterministic operations XLA does not choose a kernel by timing candidates, for then the choice
would be another in every process: it takes the first. Of a matrix product that is, by default, its
own Triton kernel with the smallest tiles (16 x 8, two warps, one stage). The vendor's library
chooses by a rule of its own, the same every time, and well: so products go there.

XLA remembers in a process what it chose. Compiled first without determinism and then with it, a
program is deterministic and has kernels that were timed (docs/decisions/0029). That takes as long
as one more compilation, so it is for long trainings; and of convolutions the fastest kernels add up
in any order, so it is for programs without any.
"""

from __future__ import annotations

import importlib.metadata
import os
from typing import Any

__all__ = ["LONG", "for_one_run", "have_convolutions", "timed"]

_NAME = "XLA_FLAGS"
_TRITON = "xla_gpu_enable_triton_gemm"
# CUDA graphs are replayed as graphs of what needs what, instead of as chains.
_SCHEDULING = "xla_gpu_command_buffer_scheduling_mode"
# A flag that XLA does not know ends the process: TensorFlow's version in which it was seen.
_KNOWN_SINCE = (2, 21)
# Mini-batches: timing an MLP's kernels took 23 seconds, and saved 40 microseconds of each
# (docs/speed.md).
LONG = 500_000


def for_one_run(convolutions: bool, num_batches: int) -> None:
    """The flags of a process that trains one run, but for those that the user chose.

    XLA reads its flags when it is first used in a process; later this does nothing. It has no
    effect on CPUs.

    Args:
      convolutions: whether the networks may have any. With them the pieces between two of them
        are the graphs, too short to gain by another order.
      num_batches: of the training.
    """
    if not timed(convolutions, num_batches):
        _add(_TRITON, "false")  # products go to the library
    if not convolutions and _version() >= _KNOWN_SINCE:
        _add(_SCHEDULING, "CONCURRENT")


def timed(convolutions: bool, num_batches: int) -> bool:
    """Whether kernels are timed for a training, by flags of ours or of the user's."""
    library = f"{_TRITON}=false" in os.environ.get(_NAME, "")
    return num_batches >= LONG and not convolutions and not library


def have_convolutions(graph: Any) -> bool:
    """Whether a TensorFlow graph, or a function that it calls, has convolutions."""
    definition = graph.as_graph_def()
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    return any(node.op.startswith(("Conv", "DepthwiseConv")) for node in nodes)


def _version() -> tuple[int, ...]:
    """TensorFlow's, without importing it; () where it is not known."""
    try:
        return tuple(int(n) for n in importlib.metadata.version("tensorflow").split(".")[:2])
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return ()


def _add(flag: str, value: str) -> None:
    given = os.environ.get(_NAME, "")
    if flag not in given:
        os.environ[_NAME] = f"{given} --{flag}={value}".strip()
