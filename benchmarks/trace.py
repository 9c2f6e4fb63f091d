"""What a GPU does in a mini-batch: its kernels, how long each takes, how long it has nothing to do.

    python -m benchmarks.trace [--model=mlp|dcgan32|dcgan64] [--algorithm=mirror_gan]
        [--batch_size=64] [--precision=float32] [--steps=100] [--folder=DIR]
    python -m benchmarks.trace --read=DIR --steps=100      # a trace that is there, of JAX's, too

TensorFlow's profiler is on for so many mini-batches after as many that warm up. XLA runs its
programs without CUDA graphs while it is, so that the time from step to step is another than that of
`benchmarks.turns`; the kernels' own times are the same. Without a GPU there is nothing to see.
"""

from __future__ import annotations

import collections
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from benchmarks.step import MODELS
from tf_mixed_nash.errors import InputError
from trainers.system import cli
from trainers.system.quiet import import_tensorflow

__all__ = ["Seen", "read", "table"]

_PICO = 1e-6  # of a microsecond
_SHOWN = 40


class Seen(NamedTuple):
    """A GPU's work in a trace, in microseconds.

    Attributes:
      span: from the first event to the end of the last.
      busy: of it, the time in which at least one event ran.
      kernels: name -> (how many, their time together).
    """

    span: float
    busy: float
    kernels: dict[str, tuple[int, float]]


def read(space: Any) -> Seen:
    """What a trace (an XSpace) has of its first GPU.

    Raises:
      InputError: if it has none.
    """
    for plane in space.planes:
        lines = [line for line in plane.lines if line.name.startswith("Stream")]
        if "GPU" in plane.name and any(line.events for line in lines):
            break
    else:
        raise InputError("The trace has no work of a GPU. Trace on a machine that has one.")
    names = {key: value.name for key, value in plane.event_metadata.items()}
    events = []
    for line in lines:
        for event in line.events:
            start = line.timestamp_ns * 1e-3 + event.offset_ps * _PICO
            events.append((start, start + event.duration_ps * _PICO, names[event.metadata_id]))
    events.sort()
    busy, end = 0.0, events[0][0]
    found: dict[str, list[float]] = collections.defaultdict(list)
    for start, stop, name in events:
        busy += max(stop - max(start, end), 0.0)
        end = max(end, stop)
        found[name].append(stop - start)
    kernels = {name: (len(times), sum(times)) for name, times in found.items()}
    return Seen(end - events[0][0], busy, kernels)


def table(seen: Seen, steps: int) -> str:
    """The numbers of a mini-batch as text, the longest kernels first."""
    number = sum(count for count, _ in seen.kernels.values())
    lines = [
        f"a mini-batch: {seen.span / steps:.1f} us, of which the GPU works "
        f"{seen.busy / steps:.1f}; {number / steps:.1f} kernels and copies"
    ]
    ordered = sorted(seen.kernels.items(), key=lambda item: -item[1][1])
    for name, (count, time) in ordered[:_SHOWN]:
        lines.append(f"{time / steps:>10.2f} us {count / steps:>8.2f} x  {name[:100]}")
    if rest := ordered[_SHOWN:]:
        time = sum(time for _, (_, time) in rest)
        lines.append(f"{time / steps:>10.2f} us           {len(rest)} others")
    return "\n".join(lines)


def _traced(f: Any, folder: str) -> None:
    import dataclasses

    tf: Any = import_tensorflow()
    from benchmarks.peers.ours_peer import Trainer

    if not tf.config.list_physical_devices("GPU"):
        raise InputError("There is no GPU here. --read=DIR reads a trace of another machine.")
    work = dataclasses.replace(
        MODELS[f.model],
        algorithm=f.algorithm,
        batch_size=f.batch_size,
        precision=f.precision,
    )
    trainer = Trainer(work)
    trainer.advance(f.steps)
    tf.profiler.experimental.start(folder)
    trainer.advance(f.steps)
    tf.profiler.experimental.stop()


def main() -> int:
    """The command."""
    f = flags.FLAGS
    with tempfile.TemporaryDirectory() as temporary:
        folder = f.read or f.folder or temporary
        if not f.read:
            _traced(f, folder)
        files = sorted(Path(folder).glob("**/*.xplane.pb"))
        if not files:
            raise InputError(
                f"{folder} has no trace, a file *.xplane.pb. Give a profiler's folder."
            )
        import_tensorflow()
        from tensorflow.tsl.profiler.protobuf import xplane_pb2  # pyright: ignore

        space = xplane_pb2.XSpace()
        space.ParseFromString(files[-1].read_bytes())
    print(table(read(space), f.steps))
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_enum("model", "mlp", list(MODELS), "What is trained.")
    flags.DEFINE_string("algorithm", "mirror_gan", "Of the registry.")
    flags.DEFINE_integer("batch_size", 64, "Samples a mini-batch.", lower_bound=1)
    flags.DEFINE_enum("precision", "float32", ["float32", "bfloat16"], "Of the layers.")
    flags.DEFINE_integer("steps", 100, "Mini-batches that are traced.", lower_bound=1)
    flags.DEFINE_string("folder", None, "Keep the trace there.")
    flags.DEFINE_string("read", None, "Read the trace of this folder.")
    cli.main(main, sys.argv)
