"""What `tests.fingerprints` runs: each command, tiny, in seconds."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CASES", "RUN", "Case"]

_TINY = "trainers.run --config=configs/gaussians8_mp.py:tiny --workdir={out}"
_IMAGES = "trainers.run --config=configs/mnist_mp.py:tiny --config.dataset=folder --workdir={out}"
_IMAGES += " --config.image.size=28 --config.model.width=4 --config.data.path={data}"
_SWEEP = "trainers.sweep --config=configs/gaussians8_mp.py:tiny --output={out} --pruner=none"
_SOLVE = "trainers.solve --out={out} --num_steps=50 --game=configs/games.py"
_ALGORITHMS = (
    *("sgd", "rmsprop", "adam", "optimistic_adam", "extra_adam", "alt_extra_adam"),
    *("past_extra_adam", "mirror_gan", "mirror_prox_gan", "alt_mirror_gan"),
    *("alt_mirror_prox_gan", "chambolle_pock", "sample_md", "sample_mp"),
)
_COMMANDS = (
    *("trainers.run", "trainers.evaluate", "trainers.compare", "trainers.sweep"),
    *("trainers.reproduce", "trainers.solve", "trainers.mixtures", "trainers.replay"),
    *(
        "trainers.features",
        "trainers.checkpoint",
        "trainers.diagnose",
        "export.saved_model",
        "export.sample",
    ),
    *("export.serve", "export.verify", "export.convert", "export.tfserving"),
)
_CONFIGS = ("gaussians25_md", "swissroll_mp", "fashion_mnist_mp", "lsun_md")
RUN = "plane/mirror_prox_gan"


class Case(NamedTuple):
    """A command; {out} is its own folder, {data} the data's, {run} that of the case RUN, {model}
    the model that the case saved_model makes, {CASE} the folder of any other.

    Its standard output, its exit code and the files of the folder `looks` are looked at. It begins
    when the case `needs` has ended; those that lock one workdir follow each other in this way.
    """

    command: str
    needs: str = ""
    looks: str = "{out}"


CASES = {
    **{f"help/{name}": Case(f"{name} --help") for name in _COMMANDS},
    **{
        f"dry_run/{name}": Case(f"trainers.run --config=configs/{name}.py --dry_run")
        for name in _CONFIGS
    },
    **{f"plane/{name}": Case(f"{_TINY} --config.algorithm={name}") for name in _ALGORITHMS},
    "dry_run/reproduce": Case("trainers.reproduce all --dry_run --runs={out} --results={out}"),
    "error/no_config": Case("trainers.run"),
    "error/key": Case(f"{_TINY} --config.stepsize=1"),
    "error/algorithm": Case(f"{_TINY} --config.algorithm=adm"),
    "error/workdir": Case("trainers.evaluate --workdir={data}/none"),
    "error/game": Case(f"{_SOLVE}:none"),
    "error/search": Case(f"{_SWEEP} --search=step_size=log:2:1"),
    "plane_whole": Case(f"{_TINY} --config.compile=whole"),
    "plane_scores_and_gaps": Case(f"{_TINY} --config.score_every=2 --config.duality_gap.every=2"),
    "images/folder": Case(f"{_IMAGES}/folder"),
    "images/conditional": Case(f"{_IMAGES}/images.npz --config.model.conditional=true"),
    "sweep": Case(
        f"{_SWEEP} --algorithm=adam --search=step_size=log:1e-4:1e-2 --num_trials=3 --threads=1"
    ),
    "compare": Case(
        "trainers.compare --variant=tiny --algorithms=adam,mirror_gan --num_batches=2 --seeds=0"
        " --out={out}"
    ),
    "solve/matrix": Case(f"{_SOLVE}:weighted_rock_paper_scissors"),
    "solve/continuous": Case(f"{_SOLVE}:polynomial --method=conic_mirror_prox,grid_mirror_prox"),
    # The committed study's records are there already (`_write_data`).
    "report": Case(
        "trainers.reproduce all --report_only --runs={data}/none --results={data}/study",
        looks="{data}/study",
    ),
    # All that follows reads a run from above. The first finds it finished.
    "again": Case(_TINY.replace("{out}", "{run}"), RUN, looks="{run}"),
    "checkpoint": Case("trainers.checkpoint --workdir={run}", "again"),
    "evaluate": Case("trainers.evaluate --workdir={run} --output={out}/a.json", "again"),
    "saved_model": Case(
        "export.saved_model --workdir={run} --output={model} --average=ema", "evaluate"
    ),
    "mixtures": Case(
        "trainers.mixtures --workdir={run} --num_samples=64", "saved_model", "{run}/mixture"
    ),
    "replay": Case("trainers.replay --workdir={run}", "mixtures"),
    "verify": Case("export.verify --model={model}", "saved_model"),
    "tfserving": Case("export.tfserving --model={model} --output={out}", "saved_model"),
    "sample/ema": Case("export.sample --model={model} --output={out}/a.npy", "saved_model"),
    "sample/mixture": Case(
        "export.sample --model={run}/export/generator --output={out}/a.png", RUN
    ),
    "sample/images": Case(
        "export.sample --model={images/conditional}/export/generator --output={out}/a.npy",
        "images/conditional",
    ),
}
