"""Whether reading keeps up with training: data wait and memory, on JPEGs from an LMDB.

    python -m benchmarks.input [--path=LMDB] [--experiment=lsun_mp] [--set=model.width=8]
        [--steps=40] [--warm_up=10] [--output=input.json]

Without --path an LMDB in LSUN's layout is made in a temporary folder: 2,000 crops of a photograph
(matplotlib's), 256 pixels on the short side, as LSUN has them. The steps are the trainer's own
loop; what is measured begins after the warm-up, in which TensorFlow traces and allocates.
"""

from __future__ import annotations

import importlib
import io
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from absl import flags

from tf_mixed_nash.errors import InputError
from trainers.system import cli
from trainers.system.quiet import import_tensorflow

_NUM = 2_000


def make_lmdb(folder: Path) -> Path:
    """An LMDB directory with crops of a photograph, JPEG and WebP as LSUN has them."""
    import lmdb
    import matplotlib.cbook
    import numpy as np
    from PIL import Image

    sample: Any = matplotlib.cbook.get_sample_data("grace_hopper.jpg")
    with sample as file:
        photo = Image.open(file).convert("RGB").resize((1024, 1200))
    random = np.random.default_rng(0)
    with (
        lmdb.open(str(folder), map_size=2**30) as environment,
        environment.begin(write=True) as transaction,
    ):
        for i in range(_NUM):
            left, top = (int(random.integers(0, n)) for n in (1024 - 341, 1200 - 256))
            crop = photo.crop((left, top, left + 341, top + 256))
            buffer = io.BytesIO()
            crop.save(buffer, "WEBP" if i % 2 else "JPEG", quality=75)
            transaction.put(f"{i:040x}".encode(), buffer.getvalue())
    return folder


def _memory() -> float:
    """Resident MiB now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def measure(path: Path, name: str, overrides: list[str], steps: int, warm_up: int) -> dict:
    """Trains `steps` mini-batches; ms_per_batch, data_wait (a fraction), MiB over time."""
    from tf_mixed_nash.training.loop import Loop
    from trainers.experiment import settings
    from trainers.experiment.build import build

    config = importlib.import_module(f"configs.{name}").get_config()
    config.data.path, config.data.cache, config.num_batches = str(path), False, 10**6
    settings.override(config, overrides)
    loop = Loop(build(settings.resolve(config)))
    loop.advance(warm_up)
    start, waited, began, memory = loop.step, loop.waited, time.perf_counter(), [_memory()]
    for k in range(1, 11):
        loop.advance(start + steps * k // 10)
        memory.append(_memory())
    seconds, done = time.perf_counter() - began, loop.step - start
    result = {
        "mini_batches": done,
        "ms_per_batch": 1e3 * seconds / done,
        "data_wait": (loop.waited - waited) / seconds,
        "resident_mib": [round(m) for m in memory],
    }
    loop.close()
    return result


def main() -> int:
    """The command."""
    import_tensorflow()
    from trainers.system import provenance
    from trainers.system.files import write_json

    f = flags.FLAGS
    if f.path and not Path(f.path).exists():
        raise InputError(f"There is nothing at --path={f.path}.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(f.path) if f.path else make_lmdb(Path(folder))
        result = measure(path, f.experiment, f.set, f.steps, f.warm_up)
    hardware = provenance.describe({"seed": 0})
    print(
        f"{hardware['hardware']['processor']}, {hardware['hardware']['cores']} cores; "
        f"{f.experiment} {' '.join(f.set)}"
    )
    print(
        f"{result['mini_batches']} mini-batches, {result['ms_per_batch']:.1f} ms each, data wait "
        f"{100 * result['data_wait']:.2f} %"
    )
    print("resident MiB, every tenth:", *result["resident_mib"])
    if f.output:
        write_json(Path(f.output), {**result, "provenance": hardware})
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_string("path", None, "An LMDB directory or folder; by default one is made.")
    flags.DEFINE_string("experiment", "lsun_mp", "A config of images.")
    flags.DEFINE_multi_string("set", [], "KEY=VALUE: a config key.")
    flags.DEFINE_integer("steps", 40, "Mini-batches that are measured.", lower_bound=10)
    flags.DEFINE_integer("warm_up", 10, "Mini-batches before them.", lower_bound=1)
    flags.DEFINE_string("output", None, "Also write a JSON file.")
    cli.main(main, sys.argv)
