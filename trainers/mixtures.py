"""Better mixtures of a finished run: weights chosen on held-out data, pruned, compared.

    python -m trainers.mixtures --workdir=runs/gaussians8_mp
    python -m trainers.mixtures --workdir=runs/gaussians8_mp --tolerance=0.02 --publish

The weights are the equilibrium of the game of the run's kept generators against its kept
discriminators (tf_mixed_nash/strategies/weights.py), on real data and latents that neither the
training nor the scorecard uses; no score enters the choice. Writes mixture/{mixture.json,
report.md, report.png, weights.npz} in the workdir. --publish publishes the pruned mixture as the
next version of WORKDIR/export/generator.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from tf_mixed_nash.errors import InputError
from trainers.system import cli
from trainers.system.files import make_writable
from trainers.system.quiet import import_tensorflow
from trainers.workdir.folder import CARD, MIXTURE

if TYPE_CHECKING:
    from tf_mixed_nash.training.loop import Loop


def _run() -> int:
    f = flags.FLAGS
    if not f.workdir:
        raise InputError("Say which run, with --workdir=DIR (a finished run of trainers.run).")
    if not (math.isfinite(f.tolerance) and f.tolerance >= 0):
        raise InputError(f"--tolerance must be at least 0 and finite, got {f.tolerance}.")
    if f.num_samples < 2:
        raise InputError(f"--num_samples must be at least 2, got {f.num_samples}.")
    workdir = Path(f.workdir)
    if not workdir.is_dir():
        raise InputError(f"No such workdir: {workdir}. Expected a folder of trainers.run.")
    tf = import_tensorflow()
    from trainers.answers import reading

    tf.config.experimental.enable_op_determinism()
    loop = reading.load_loop(workdir)
    if not (workdir / CARD).is_file():
        raise InputError(
            f"{workdir} is not finished: it has no {CARD}. The command of trainers.run "
            "that began it resumes it."
        )
    if (packing := loop.run.game.packing) > 1:
        raise InputError(
            f"{workdir} has a discriminator of packs of {packing} data (game.packing), which does "
            "not judge samples one by one: the mixture's weights have no payoff to go by. Train "
            "with packing 1."
        )
    return _better(workdir, loop, f.num_samples, f.tolerance, f.publish)


def _better(workdir: Path, loop: Loop, num_samples: int, tolerance: float, publish: bool) -> int:
    from trainers.answers import weighing

    run, kept, out = loop.run, weighing.kept_of(loop, workdir), workdir / MIXTURE
    make_writable(out, "--workdir")
    began = time.perf_counter()
    game, fresh = (weighing.measure(run, loop, kept, num_samples, draw) for draw in (0, 1))
    seconds = time.perf_counter() - began
    choice = weighing.choose(game.F, tolerance, kept.uniform(range(len(kept.t))))
    full, pruned = choice.full, choice.pruned
    entries = weighing.judge(kept, game, fresh, choice)
    # Only now are samples scored: no score has entered the choice.
    scores = weighing.score(loop, kept, choice)
    content = {
        "step": loop.step,
        "num_samples": num_samples,
        "tolerance": tolerance,
        "value": full.value,
        "certified_gap": full.gap,
        "seconds_of_payoffs": round(seconds, 1),
        "game": entries,
        "path": [
            {"num_components": len(o.components), "worst": o.worst, "gap": o.gap}
            for o in choice.path
        ],
        **scores,
        "report": weighing.report(run, kept, game, full),
    }
    tables = run.task.format_table(scores), weighing.game_table(entries)
    p, q = full.nu.weights, full.mu.weights
    arrays = {"F": game.F, "fresh": fresh.F, "t": kept.t, "p": p, "q": q}
    weighing.write(out, arrays, content, tables)
    print(*tables, sep="\n")
    n, m = game.F.shape
    critics = len(kept.pairs.w)  # of WGAN's both signs play
    unit = "standard deviations of a critic" if n > critics else "the discriminator's loss"
    print(
        f"worst: max_i (F p)_i over {n} critics, in {unit}; value {full.value:.4f}, "
        f"certified gap {full.gap:.1e}; payoffs took {seconds:.0f} s"
    )
    print(f"pruned       {m} -> {len(pruned.components)} components within {tolerance:g}")
    print(f"report       {out / 'report.md'}, {out / 'report.png'}, {out / 'mixture.json'}")
    if publish:
        print(f"SavedModel   {weighing.publish(workdir, run, kept, pruned, content)}")
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "The folder of a finished run of trainers.run.")
    flags.DEFINE_integer("num_samples", 2_048, "Held-out samples of every component.")
    flags.DEFINE_float(
        "tolerance", 0.01, "The pruned mixture's worst critic may gain so much on the best's."
    )
    flags.DEFINE_bool("publish", False, "Publish the pruned mixture as the next version.")
    cli.main(_run, sys.argv)
