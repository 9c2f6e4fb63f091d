"""A program as XLA compiles it for an NVIDIA H100, where there is none: read from stdin, as text.

    python -m benchmarks.peers.gpu_compiler < PROGRAM      a serialised HloModule, with our flags
    python -m benchmarks.peers.gpu_compiler '{"model": "mlp", ...}'      JAX's scan of that `Work`

Run in .venv-gpu (`make gpu-compiler`), whose JAX has the compiler for GPUs and needs no driver:
nothing is run. XLA's version is JAX's, not TensorFlow's, and kernels are chosen by rule, as nothing
can be timed.
"""

from __future__ import annotations

import json
import os
import re
import sys

__all__ = ["FLAGS", "main"]

# What `trainers.run` sets on a GPU for fewer than 500,000 mini-batches (tf_mixed_nash/xla_flags.py,
# and TensorFlow's deterministic operations).
FLAGS = "--xla_gpu_deterministic_ops=true --xla_gpu_enable_triton_gemm=false"
_UNTIMED = "--xla_gpu_autotune_level=0"
_COUNTED = 25  # steps of JAX's program

# NVIDIA's data sheet, and what CUDA says of such a card.
_CARD = {
    "threads_per_block_limit": 1024,
    "threads_per_warp": 32,
    "shared_memory_per_block": 48 << 10,
    "shared_memory_per_core": 228 << 10,
    "shared_memory_per_block_optin": 227 << 10,
    "threads_per_core_limit": 2048,
    "core_count": 132,
    "fpus_per_core": 128,
    "block_dim_limit_x": 2**31 - 1,
    "block_dim_limit_y": 2**16 - 1,
    "block_dim_limit_z": 2**16 - 1,
    "thread_dim_limit_x": 1024,
    "thread_dim_limit_y": 1024,
    "thread_dim_limit_z": 64,
    "registers_per_core_limit": 2**16,
    "registers_per_block_limit": 2**16,
    "memory_bandwidth": 3_352_320_000_000,
    "l2_cache_size": 50 << 20,
    "clock_rate_ghz": 1.98,
    "device_memory_size": 80 << 30,
    "device_address_bits": 64,
    "device_vendor": '"NVIDIA Corporation"',
    "platform_version": '"Compute Capability 9.0a"',
    "driver_version": '"13.0.0"',
    "runtime_version": '"12.8.0"',
    "compile_time_toolkit_version": '"12.8.0"',
    "dnn_version": '"9.10.0"',
    "name": '"NVIDIA H100 80GB HBM3"',
}


def _target() -> str:
    facts = " ".join(f"{name}: {value}" for name, value in _CARD.items())
    capability = "cuda_compute_capability { major: 9 feature_extension: ACCELERATED_FEATURES }"
    version = "dnn_version_info { major: 9 minor: 10 patch: 0 }"
    return (
        f"gpu_device_info {{ {facts} {capability} }} platform_name: 'CUDA' {version} "
        "device_description_str: 'NVIDIA H100 80GB HBM3'"
    )


def _device():
    from jax.experimental import topologies

    found = topologies.get_topology_desc("h100", "cuda", target_config=_target(), topology="1x1x1")
    return found.devices[0]


def _of_program(serialised: bytes) -> str:
    from jax._src.interpreters import mlir
    from jax._src.lib import xla_client
    from jax._src.lib.mlir import ir

    device = _device()
    program = xla_client.XlaComputation(serialised)
    text = xla_client._xla.mlir.xla_computation_to_mlir_module(program)
    module = ir.Module.parse(_without_copies(text), mlir.make_ir_context())
    compiled = device.client.compile(
        module, xla_client.DeviceList((device,)), xla_client.CompileOptions()
    )
    return compiled.hlo_modules()[0].to_string()


def _without_copies(text: str) -> str:
    """TensorFlow's copies of what a program returns, which JAX's dialect does not know."""
    names, lines = {}, []
    for line in text.splitlines():
        if found := re.match(r'\s*(%[\w#]+) = "?mhlo\.copy"?\s*\(?(%[\w#]+)', line):
            names[found[1]] = found[2]
        else:
            lines.append(line)
    return re.sub(r"%[\w#]+", lambda m: names.get(m[0], m[0]), "\n".join(lines))


def _of_jax(work: str) -> str:
    import jax
    from jax.sharding import SingleDeviceSharding

    from benchmarks.peers.common import Work
    from benchmarks.peers.jax_peer import Trainer

    here = SingleDeviceSharding(_device())
    trainer = Trainer(Work(**json.loads(work)))

    def placed(tree):
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), tree)

    given = placed(trainer._state), _COUNTED, placed(trainer._key), trainer._images
    return trainer._many.lower(*given).compile().as_text()


def main() -> None:
    """The command."""
    work = sys.argv[1] if len(sys.argv) > 1 else ""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = _UNTIMED if work else f"{_UNTIMED} {FLAGS}"
    print(_of_jax(work) if work else _of_program(sys.stdin.buffer.read()))


if __name__ == "__main__":
    main()
