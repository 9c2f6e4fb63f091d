"""Scores a workdir or an exported model, beside fresh real samples.

python -m trainers.evaluate --workdir=DIR
python -m trainers.evaluate --model=BASE/NAME [--dataset=gaussians8]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from tf_mixed_nash.errors import InputError
from tf_mixed_nash.quiet import import_tensorflow
from trainers import cli

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from tf_mixed_nash.strategies import MixedStrategy
    from trainers.data.synthetic import PlanarData

    # seeds int64 [n, 2] -> samples [n, 2]
    Sampler = Callable[[tf.Tensor], np.ndarray]

__all__ = ["SEED", "format_table", "sampler", "score_samplers"]

# Scores use draws of their own, the same ones for every run: a difference between two
# runs is not a difference between two test sets.
SEED = 20190609
_COLUMNS = (
    ("modes", "modes_captured", "{:.0f}"),
    ("HQ 3s", "high_quality_3sigma", "{:.3f}"),
    ("HQ 4s", "high_quality_4sigma", "{:.3f}"),
    ("rev. KL", "reverse_kl", "{:.4f}"),
    ("std ratio", "std_ratio", "{:.2f}"),
    ("bias/s", "mean_bias_sigma", "{:.2f}"),
    ("W2", "wasserstein2", "{:.3f}"),
)


def _real(data, num: int, name: str):
    from tf_mixed_nash import rng

    return data.sample(rng.stream(SEED, name), num).numpy()


def sampler(strategy: MixedStrategy) -> Sampler:
    """A compiled sampler of a strategy."""
    import tensorflow as tf

    signature = [tf.TensorSpec([None, 2], tf.int64)]
    draw = tf.function(strategy.sample, input_signature=signature, autograph=False)
    return lambda seeds: draw(seeds).numpy()


def score_samplers(
    samplers: Mapping[str, Sampler], data: PlanarData, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """`strategies` (the scorecard of each sampler) and `real_data_ceiling`.

    Args:
      samplers: name -> sampler.
      data: the real distribution.
      settings: the config's `scorecard`: num_samples and capture_samples.
    """
    from tf_mixed_nash.metrics.scorecard import scorecard
    from tf_mixed_nash.strategies import seed_rows

    num, capture = settings["num_samples"], settings["capture_samples"]
    real, reference = _real(data, num, "real"), _real(data, num, "reference")
    seeds = seed_rows(SEED, num)
    return {
        "strategies": {
            name: scorecard(draw(seeds), reference, data, capture)
            for name, draw in samplers.items()
        },
        "real_data_ceiling": scorecard(real, reference, data, capture),
    }


def format_table(scores: Mapping[str, Any], published: str | None = None) -> str:
    """A text table: one line for each strategy, and one for real data."""
    rows = {**scores["strategies"], "real data": scores["real_data_ceiling"]}
    lines = [" " * 12 + "".join(f"{title:>11}" for title, _, _ in _COLUMNS)]
    for name, card in rows.items():
        cells = []
        for _, key, form in _COLUMNS:
            value = card[key]
            text = "-" if value is None or value != value else form.format(value)
            if key == "modes_captured":
                text = f"{text}/{card['num_modes']}"
            cells.append(f"{text:>11}")
        mark = "*" if name == published else " "
        lines.append(f"{mark}{name:<11}" + "".join(cells))
    if published:
        lines.append("* published")
    return "\n".join(lines)


def _score_model(model: Path, dataset: str | None) -> tuple[dict, dict]:
    import tensorflow as tf

    from export import publish
    from trainers.data import synthetic

    version = publish.find_version(model)
    dataset = dataset or publish.read_manifest(version).get("dataset")
    if not dataset:
        raise InputError(f"{version} does not say its data set. Give it with --dataset.")
    settings = {"num_samples": 10_000, "capture_samples": 2_500}
    loaded = tf.saved_model.load(str(version))
    sample = loaded.signatures["serving_default"]
    draw = lambda seeds: sample(seeds=seeds)["samples"].numpy()  # noqa: E731
    data = synthetic.make(dataset)
    scores = score_samplers({"model": draw}, data, settings)
    return scores["strategies"]["model"], scores


def main() -> int:
    """The command."""
    workdir, model = flags.FLAGS.workdir, flags.FLAGS.model
    if bool(workdir) == bool(model):
        raise InputError("Give one of --workdir=DIR and --model=BASE/NAME.")
    import_tensorflow()
    from trainers import settings
    from trainers.files import write_json

    if workdir:
        workdir = Path(workdir)
        config = settings.load_workdir_config(workdir)
        from trainers import artifacts
        from trainers.data import synthetic

        data = synthetic.make(config["dataset"])
        strategies = artifacts.load_strategies(workdir)
        samplers = {name: sampler(s) for name, s in strategies.items()}
        scores = score_samplers(samplers, data, config["scorecard"])
        card, published = scores["strategies"][config["publish"]], config["publish"]
    else:
        card, scores = _score_model(Path(model), flags.FLAGS.dataset)
        published = None
    print(format_table(scores, published))
    if flags.FLAGS.output:
        write_json(Path(flags.FLAGS.output), {**card, **scores})
        print(f"wrote {flags.FLAGS.output}")
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "A workdir of trainers.run: scores its newest checkpoint.")
    flags.DEFINE_string("model", None, "An exported model: BASE/NAME or BASE/NAME/VERSION.")
    flags.DEFINE_string("dataset", None, "The data set, where the model does not say it.")
    flags.DEFINE_string("output", None, "Also write the scores to this JSON file.")
    cli.main(main, sys.argv)
