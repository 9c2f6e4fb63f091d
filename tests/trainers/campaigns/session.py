"""A session of a campaign with the fake trainer: python session.py KIND FOLDER."""

import sys
from pathlib import Path

from trainers.system import cli

FAKE = (sys.executable, str(Path(__file__).parents[1] / "fake_trainer.py"))

# Each imports what it needs and no more: a session is short.


def compare(folder):
    from PIL import Image

    import configs
    from trainers.campaigns import jobs
    from trainers.campaigns.comparison import Comparison, plan, write
    from trainers.tasks.tables import Column

    class Task:
        """Of what a comparison asks its task."""

        name, is_image, columns = "gaussians8", False, {"wasserstein2": Column("W2", 4)}

        def draw_panels(self, path, rows):
            Image.new("L", (len(rows), len(rows[0]))).save(path)

    names, config = ("adam", "mirror_gan"), configs.address("gaussians8", "tiny")
    runs = plan(folder, config, names, (0, 1), ["num_batches=16"])
    runs = {key: job._replace(trainer=FAKE) for key, job in runs.items()}
    comparison = Comparison(list(runs.values()))
    code = jobs.run(comparison, side_by_side=2)
    if not code:
        write(folder, Task(), runs, comparison.diverged, dict.fromkeys(names, "T"), "", {})
    return code


def sweep(folder):
    from trainers.sweep import Spec, run
    from trainers.system.stopping import Stopped

    spec = Spec(
        config="configs/gaussians8_mp.py:tiny",
        algorithm="adam",
        output=folder,
        search=("step_size=grid:0.1,0.01,0.001,0.03",),
        num_trials=4,
        sampler="grid",
        pruner="none",
        jobs=2,
        set=("num_batches=16",),
    )
    try:
        run(spec, FAKE)
    except Stopped as stopped:
        return stopped.code
    return cli.DONE


def reproduce(folder):
    from trainers.campaigns.study import runs
    from trainers.campaigns.study.protocol import PROTOCOLS

    real = runs.job
    runs.job = lambda *facts: real(*facts)._replace(trainer=FAKE)
    places = folder / "runs", folder / "results"
    options = runs.Options("all", PROTOCOLS["tiny"], *places, stages=("sweep",))
    return runs.run_study(options)


if __name__ == "__main__":
    from trainers.campaigns import jobs as looked_at

    looked_at._POLL_SECONDS = 0.02
    kind, folder = sys.argv[1:]
    campaigns = {"compare": compare, "sweep": sweep, "reproduce": reproduce}
    cli.main(lambda: campaigns[kind](Path(folder)), sys.argv[:1])
