"""Algorithms 4 and 5 on the 8 Gaussians with 64-unit nets, beside Mirror-GAN: table and figure.

    python -m benchmarks.sampled --out=runs/sampled [--num_batches=6000] [--seeds=0,1,2]

Every run is a normal workdir, OUT/ARM/seedN, of `trainers.run`; finished runs are not repeated,
stopped ones are resumed. All arms use the same networks and the same number of mini-batches.
Writes OUT/table.md, OUT/table.json and OUT/sampled.png (docs/sampled.md).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from absl import flags

from tf_mixed_nash.errors import InputError
from trainers.campaigns import jobs
from trainers.campaigns.jobs import Job
from trainers.system import cli
from trainers.system.quiet import import_tensorflow

_PAPER = {
    "num_inner_steps": "10",
    "history": "reservoir",
    "history_capacity": "200",
    "mixture.window": "(0.0, 1.0)",  # t-hat uniform over the whole run
}
_WITHOUT_MEMORY = {"num_inner_steps": "1", "history": "window", "history_capacity": "1"}

# arm -> (title, algorithm, config keys)
ARMS = {
    "mirror_gan": ("Mirror-GAN", "mirror_gan", {}),
    "md": ("Algorithm 4, past of 200, K = 10", "sample_md", _PAPER),
    "mp": ("Algorithm 5, past of 200, K = 10", "sample_mp", _PAPER),
    "md_window1": ("Algorithm 4, window 1, K = 1", "sample_md", _WITHOUT_MEMORY),
    "mp_window1": ("Algorithm 5, window 1, K = 1", "sample_mp", _WITHOUT_MEMORY),
}
_ANSWERS = ("last", "mixture")


def job(out: Path, arm: str, seed: int, num_batches: int, variant: str) -> Job:
    """One run."""
    _, algorithm, keys = ARMS[arm]
    values = {"algorithm": algorithm, "seed": seed, "num_batches": num_batches, **keys}
    if not variant:
        values["model.hidden_units"] = "64,64,64"
    config = "configs/gaussians8_md.py" + (f":{variant}" if variant else "")
    items = [f"{key}={value}" for key, value in values.items()]
    return Job(f"{arm}, seed {seed}", config, items, out / arm / f"seed{seed}")


def main() -> int:
    """The command."""
    f = flags.FLAGS
    if not f.out:
        raise InputError("Say where the runs go, with --out=DIR.")
    try:
        seeds = [int(part) for part in f.seeds.split(",")]
    except ValueError:
        raise InputError(f"--seeds must be integers with commas, got {f.seeds!r}.") from None
    import_tensorflow()
    from trainers.campaigns.cells import aggregate, markdown
    from trainers.campaigns.comparison import Comparison
    from trainers.system.files import make_writable, write_atomically, write_json
    from trainers.tasks.planar import COLUMNS
    from trainers.workdir.folder import read_card

    out = Path(f.out)
    make_writable(out, "--out")
    runs = {
        (arm, seed): job(out, arm, seed, f.num_batches, f.variant) for seed in seeds for arm in ARMS
    }
    comparison = Comparison(list(runs.values()))
    if code := jobs.run(comparison, show=True) or (jobs.FAILED if comparison.failed else cli.DONE):
        return code
    real: dict[str, Any] = {}
    cards: dict[str, list] = {f"{arm}/{answer}": [] for arm in ARMS for answer in _ANSWERS}
    for (arm, _), done in runs.items():
        if scores := read_card(done.workdir):
            for answer in _ANSWERS:
                cards[f"{arm}/{answer}"].append(scores["strategies"][answer])
            real = scores["real_data_ceiling"]
    rows: dict[str, Any] = {n: aggregate(c, COLUMNS) if c else "diverged" for n, c in cards.items()}
    if real:
        rows["real data/"] = aggregate([real], COLUMNS)
    titles = {arm: title for arm, (title, _, _) in ARMS.items()}
    write_json(out / "table.json", {"rows": rows, "scorecards": cards})
    table = markdown(rows, titles, COLUMNS)
    table += f"\nSeeds {f.seeds}; {f.num_batches:,} mini-batches each; mean ± standard error.\n"
    write_atomically(out / "table.md", lambda path: path.write_text(table))
    print(table)
    print(f"figure  {_figure(out, seeds[0])}")
    return cli.DONE


def _figure(out: Path, seed: int) -> Path:
    """Real blue, generated red: one column an arm; last iterate above, mixture below."""
    import numpy as np

    from tf_mixed_nash import rng
    from trainers.tasks import pictures
    from trainers.tasks.data import synthetic

    data = synthetic.make("gaussians8")
    real = data.sample(rng.stream(seed, "picture"), 2_500).numpy()

    def panel(arm, title, answer):
        path, fake = out / arm / f"seed{seed}" / "samples" / "final.npz", None
        if path.is_file():
            with np.load(path) as saved:
                fake = saved[answer]
        return title.replace(", ", "\n", 1) + f"\n{answer}", fake

    rows = [
        [panel(arm, title, answer) for arm, (title, _, _) in ARMS.items()] for answer in _ANSWERS
    ]
    return pictures.scatter(out / "sampled.png", real, rows, data.window, size=2.9)


if __name__ == "__main__":
    flags.DEFINE_string("out", None, "Where the runs, the table and the figure go.")
    flags.DEFINE_integer("num_batches", 6_000, "Mini-batches of every run.", lower_bound=1)
    flags.DEFINE_string("seeds", "0,1,2", "Seeds separated by commas.")
    flags.DEFINE_string("variant", "", "Config variant, such as tiny.")
    cli.main(main, sys.argv)
