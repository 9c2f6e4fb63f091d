"""Milliseconds per mini-batch of the algorithms, alternating in one process.

    python -m benchmarks.step [--algorithms=rmsprop,mirror_gan,...] [--batch_sizes=64,256]
        [--precisions=float32,mixed_bfloat16] [--rounds=15] [--output=step.json]
    python -m benchmarks.step --experiment=fashion_mnist_mp --batch_sizes=64 --precisions=float32 \\
        --set=data.tfds_dir=DIR

By default the work is one mini-batch of both players: WGAN with gradient penalty 0.1, MLP
3 x 512, on the 8 Gaussians, with the trainer's own loop (data, EMA and logs included). Each
round times every algorithm once, in turn; a ratio is the median over rounds of the ratio
to the first algorithm within the round, which a noisy machine cannot shift.
"""

from __future__ import annotations

import importlib
import statistics
import sys
import time
from pathlib import Path

from absl import flags

from tf_mixed_nash.quiet import import_tensorflow
from trainers import cli

_SECONDS = 0.4  # of one timing


def measure(
    algorithms, batch_size: int, precision: str, rounds: int, name: str, overrides: list[str]
) -> dict[str, dict]:
    """Times the algorithms; name -> {"ms": [per round], "ratio": [to the first, per round]}."""
    from trainers import settings
    from trainers.build import build
    from trainers.loop import Loop

    loops, chunk = {}, {}
    module = importlib.import_module(f"configs.{name}")
    for name in algorithms:
        config = module.get_config()
        config.algorithm = name
        config.batch_size, config.precision, config.num_batches = batch_size, precision, 10**6
        settings.override(config, overrides)
        loops[name] = Loop(build(settings.resolve(config)))
        loops[name].advance(2)  # traces and compiles
        started = time.perf_counter()
        loops[name].advance(22)
        chunk[name] = max(20, 2 * round(_SECONDS / (time.perf_counter() - started) * 10))
    result = {name: {"ms": [], "ratio": []} for name in algorithms}
    for _ in range(rounds):
        for name, loop in loops.items():
            before, started = loop.step, time.perf_counter()
            loop.advance(before + chunk[name])
            elapsed = time.perf_counter() - started
            result[name]["ms"].append(1e3 * elapsed / (loop.step - before))
        base = result[algorithms[0]]["ms"][-1]
        for name in algorithms:
            result[name]["ratio"].append(result[name]["ms"][-1] / base)
    return result


def _summary(values: list[float]) -> dict[str, float]:
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
    return {"median": statistics.median(values), "quartile_1": low, "quartile_3": high}


def main() -> int:
    """The command."""
    # TensorFlow takes the loops of several algorithms for one function that it traces anew.
    import_tensorflow().get_logger().setLevel("ERROR")
    from trainers import provenance
    from trainers.files import write_json

    f = flags.FLAGS
    algorithms = f.algorithms.split(",")
    hardware = provenance.describe({"seed": 0})
    print(
        f"{hardware['hardware']['processor']}, {hardware['hardware']['cores']} cores, "
        f"TensorFlow {hardware['versions']['tensorflow']}"
    )
    report = {"provenance": hardware, "results": []}
    for precision in f.precisions.split(","):
        for batch_size in map(int, f.batch_sizes.split(",")):
            result = measure(algorithms, batch_size, precision, f.rounds, f.experiment, f.set)
            print(f"\n{f.experiment}, {precision}, batch {batch_size}, {f.rounds} rounds")
            print(
                f"{'':<22}{'ms/mini-batch':>14}{'(quartiles)':>18}{'ratio':>8}{'(quartiles)':>16}"
            )
            for name, values in result.items():
                ms, ratio = _summary(values["ms"]), _summary(values["ratio"])
                ms_quartiles = f"({ms['quartile_1']:.2f}-{ms['quartile_3']:.2f})"
                quartiles = f"({ratio['quartile_1']:.2f}-{ratio['quartile_3']:.2f})"
                print(
                    f"{name:<22}{ms['median']:>14.2f}{ms_quartiles:>18}"
                    f"{ratio['median']:>8.3f}{quartiles:>16}",
                    flush=True,
                )
                report["results"].append(
                    {
                        "algorithm": name,
                        "precision": precision,
                        "batch_size": batch_size,
                        "ms_per_batch": ms,
                        f"ratio_to_{algorithms[0]}": ratio,
                    }
                )
    if f.output:
        write_json(Path(f.output), report)
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_string(
        "algorithms",
        "rmsprop,mirror_gan,mirror_prox_gan,adam,extra_adam",
        "Names separated by commas; ratios are to the first.",
    )
    flags.DEFINE_string("experiment", "gaussians8_mp", "A config, for the data and the networks.")
    flags.DEFINE_multi_string("set", [], "KEY=VALUE: a config key.")
    flags.DEFINE_string("batch_sizes", "64,256", "Sizes separated by commas.")
    flags.DEFINE_string("precisions", "float32,mixed_bfloat16", "Keras policies.")
    flags.DEFINE_integer("rounds", 15, "Timings of each algorithm.", lower_bound=2)
    flags.DEFINE_string("output", None, "Also write a JSON file.")
    cli.main(main, sys.argv)
