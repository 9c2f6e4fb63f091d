"""XLA's flags for deterministic programs on GPUs.

With deterministic operations XLA does not choose a kernel by timing candidates, for then the choice
would be another in every process: it takes the first. Of a matrix product that is, by default, its
own Triton kernel with the smallest tiles (16 x 8, two warps, one stage). The vendor's library
chooses by a rule of its own, the same every time, and well: so products go there.
"""

from __future__ import annotations

import os

__all__ = ["products_by_library"]

_NAME = "XLA_FLAGS"
_TRITON = "xla_gpu_enable_triton_gemm"


def products_by_library() -> None:
    """Sends XLA's matrix products on GPUs to the vendor's library, unless the user chose.

    XLA reads its flags when it is first used in a process; later this does nothing. It has no
    effect on CPUs.
    """
    given = os.environ.get(_NAME, "")
    if _TRITON not in given:
        os.environ[_NAME] = f"{given} --{_TRITON}=false".strip()
