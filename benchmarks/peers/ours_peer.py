"""Our own loop as a process like the peers', for `benchmarks.turns`. See `common`.

What differs from the default is in the variable OPTIONS, a JSON object: `set`, a list of KEY=VALUE
of the config; `config`, a module of `configs` instead of the work; `population`, how many seeds one
program trains; `call`, the outer steps of a call whose length XLA knows; `choose`, whether kernels
are timed (tf_mixed_nash/xla_flags.py), also of networks with convolutions, where no run does so; by
default as of a run of a million mini-batches; `deterministic`, false to let XLA choose kernels by
timing them, as without op determinism.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.peers import common
from benchmarks.peers.common import Work
from trainers.system import threads
from trainers.system.quiet import import_tensorflow

__all__ = ["OPTIONS", "Trainer"]

_FAR = 10**6  # mini-batches, as of `make_loop`
OPTIONS = "TF_MIXED_NASH_BENCHMARK"


class Trainer:
    """See `common`."""

    def __init__(self, work: Work):
        options = json.loads(os.environ.get(OPTIONS, "{}"))
        runs, timed = options.get("population", 1), options.get("choose")
        # As `trainers.run` does for a run of this kind; a population is no such run.
        dense = work.model == "mlp" and runs == 1
        if runs == 1 and "compile=whole" not in options.get("set", ()):
            threads.for_training()
        import_tensorflow(dense, 0 if timed is False else _FAR).get_logger().setLevel("ERROR")
        from benchmarks.contest import of_config
        from benchmarks.peers.ours import make_loop
        from benchmarks.population import make_population
        from tf_mixed_nash import compile as compiling
        from tf_mixed_nash import xla_flags
        from tf_mixed_nash.training import loop, population, whole

        if not options.get("deterministic", True):
            compiling.deterministic = contextlib.nullcontext
        if timed is not None:  # also of convolutions, which a run would not do
            xla_flags.timed = lambda *_: timed
            xla_flags.have_convolutions = lambda _: False
        if length := options.get("call"):
            for module in (whole, loop, population):
                module.LENGTH = length
        self._folder = tempfile.TemporaryDirectory()
        # No snapshot is due in what is timed, so that calls have one length and one program.
        given = ("mixture.window=(0.99,1.0)", *options.get("set", ()))
        folder = Path(self._folder.name)
        if config := options.get("config"):
            self._loop: Any = of_config(config, given)
        elif runs > 1:
            self._loop = make_population(work, folder, runs, given)
        else:
            self._loop = make_loop(work, folder, given)

    def advance(self, num_steps: int) -> None:
        """Trains."""
        self._loop.advance(self._loop.step + num_steps)

    def replay(self, weights, draws):
        """Nothing: `benchmarks.peers.ours` compares the others with the loop itself."""
        raise NotImplementedError


def _no_noise(num: int) -> dict[str, Any]:
    raise NotImplementedError("benchmarks.noise times our draws itself")


if __name__ == "__main__":
    sys.exit(common.serve(Trainer, _no_noise))
