"""How often the health monitor is right: runs that are made ill on purpose, and healthy ones.

    python -m benchmarks.diagnoses [--tfds_dir=DIR] [--seeds=0,1,2] [--only=NAME,...]
        [--runs=runs/diagnoses] [--output=diagnoses.json]

Small runs on 2 cores, in the plane and (with --tfds_dir, of a prepared MNIST and Fashion-MNIST) on
images of 28 pixels; each is judged by the findings of its last looks (docs/diagnosis.md). The same
command goes on with runs that are there. Prints a line a run and a table in Markdown at the end.
Exit codes: 0 done, 2 bad input, 130 or 143 stopped by a signal.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from benchmarks.given import integers
from tf_mixed_nash.errors import unknown
from trainers.system import cli
from trainers.system.files import write_json
from trainers.system.quiet import import_tensorflow

_PLANE, _IMAGES = "configs/gaussians8_mp.py:pure", "configs/mnist_mp.py:pure"
_MODELS = "benchmarks/ill_models.py"
_DONE = "done.json"  # in a run's folder: it was trained
_PLANAR = {
    "algorithm": "adam",
    "step_size": 1e-3,
    "batch_size": 128,
    "num_batches": 3_000,
    "model.hidden_units": (64, 64, 64),
}
_DCGAN = {
    "algorithm": "adam",
    "image.size": 28,
    "model.width": 8,
    "model.latent_dim": 32,
    "step_size": 1e-3,
    "num_batches": 1_200,
    "duality_gap.every": 0,
}


class Case(NamedTuple):
    """A run.

    Attributes:
      what: was done to it, or "healthy".
      config: its address.
      keys: of the config that differ.
      expected: names of findings, one of which is right; none of a healthy run.
    """

    what: str
    config: str
    keys: dict[str, Any]
    expected: tuple[str, ...] = ()


_COLLAPSED = ("collapsed_samples", "duplicates", "lost_modes")
_LOST = ("discriminator_saturated", "generator_without_signal")
_HUGE = ("exploding_parameters", "exploding_field", "diverged")


def cases(tfds_dir: str) -> dict[str, Case]:
    """By name; images only where there are some."""

    def plane(what: str, expected: tuple[str, ...] = (), **keys: Any) -> Case:
        return Case(what, _PLANE, {**_PLANAR, **_dotted(keys)}, expected)

    def images(what: str, expected: tuple[str, ...] = (), **keys: Any) -> Case:
        return Case(what, _IMAGES, {**_DCGAN, "data.tfds_dir": tfds_dir, **_dotted(keys)}, expected)

    relativistic = {"game__objective": "relativistic", "game__r1": 0.1, "game__r2": 0.1}
    relativistic["game__gradient_penalty"] = 0.0
    free = {"game__objective": "nonsaturating", "game__gradient_penalty": 0.0}
    found = {
        "plane/wgan": plane("healthy"),
        "plane/relativistic": plane("healthy", **relativistic),
        "plane/mirror_prox": plane("healthy", algorithm="mirror_prox_gan"),
        "plane/swissroll": plane("healthy", dataset="swissroll"),
        "plane/gaussians25": plane("healthy", dataset="gaussians25", **relativistic),
        "plane/huge_step": plane(
            "step size 1,000 times as large", _HUGE + _COLLAPSED, step_size=1.0
        ),
        "plane/fast_discriminator": plane(
            "the discriminator learns 100 times faster",
            _LOST + _COLLAPSED,
            **free,
            generator__step_size=1e-5,
            discriminator__step_size=1e-3,
        ),
        "plane/fast_generator": plane(
            "the generator learns 100 times faster",
            ("discriminator_left_behind", *_HUGE, *_COLLAPSED),
            **free,
            generator__step_size=1e-2,
            discriminator__step_size=1e-4,
        ),
        "plane/minimax": plane(
            "minimax, and the discriminator learns 100 times faster",
            _LOST,
            **{**free, "game__objective": "minimax"},
            generator__step_size=1e-5,
            discriminator__step_size=1e-3,
        ),
        "plane/frozen_discriminator": plane(
            "the discriminator hardly learns",
            ("discriminator_left_behind", *_COLLAPSED),
            **free,
            discriminator__step_size=1e-8,
        ),
        "plane/jump": plane(
            "a step size 1,000 times as large from four fifths on",
            _HUGE + _COLLAPSED,
            step_size_schedule=f"{_MODELS}:jump",
        ),
        "plane/jump_nonsaturating": plane(
            "the same without a penalty",
            ("vanishing_field", *_HUGE, *_LOST, *_COLLAPSED),
            **free,
            step_size_schedule=f"{_MODELS}:jump",
        ),
        "rows/memory": plane(
            "50 rows, and a generator that begins with them",
            ("memorised_data", "discriminator_overfits"),
            dataset=f"{_MODELS}:few_rows",
            model__generator=f"{_MODELS}:memory",
            model__latent_dim=16,
            batch_size=50,
        ),
        "plane/constant": plane(
            "a generator that ignores its latents",
            _COLLAPSED,
            model__generator=f"{_MODELS}:constant_point",
        ),
        "plane/one_mode": plane(
            "a generator that reaches one mode",
            _COLLAPSED,
            model__generator=f"{_MODELS}:narrow_point",
        ),
    }
    if not tfds_dir:
        return found
    found |= {
        "images/mnist": images("healthy"),
        "images/fashion": images("healthy", dataset="fashion_mnist"),
        "images/hinge": images(
            "healthy", game__objective="hinge", model__discriminator_normalization="spectral"
        ),
        "images/huge_step": images(
            "step size 1,000 times as large, no normalisation",
            _HUGE + _COLLAPSED + _LOST,
            step_size=1.0,
            model__generator_normalization="none",
            model__discriminator_normalization="none",
        ),
        "images/fast_discriminator": images(
            "the discriminator learns 100 times faster",
            _LOST + _COLLAPSED,
            generator__step_size=2e-5,
            discriminator__step_size=2e-3,
        ),
        "images/minimax": images(
            "minimax, and the discriminator learns 100 times faster",
            _LOST,
            game__objective="minimax",
            generator__step_size=2e-5,
            discriminator__step_size=2e-3,
        ),
        "images/fifty": images(
            "50 images", ("memorised_data", "discriminator_overfits"), data__split="train[:50]"
        ),
        "images/eight": images(
            "8 images",
            ("memorised_data", "discriminator_overfits"),
            data__split="train[:8]",
            batch_size=8,
        ),
        "images/constant": images(
            "a generator that ignores its latents",
            _COLLAPSED,
            model__generator=f"{_MODELS}:constant_image",
        ),
        "images/one_mode": images(
            "a generator that reaches one mode",
            _COLLAPSED,
            model__generator=f"{_MODELS}:narrow_image",
        ),
    }
    return found


def _dotted(keys: dict[str, Any]) -> dict[str, Any]:
    return {key.replace("__", "."): value for key, value in keys.items()}


def run(case: Case, seed: int, workdir: Path) -> int:
    """Trains a case, but for its last mini-batch, so that nothing is scored or published.

    Returns:
      `cli.DONE`, of a run that diverged too; what a signal stopped is none that was trained, and
      goes on another time: `cli.STOPPED` or `cli.INTERRUPTED`.
    """
    from trainers.experiment import settings
    from trainers.session import train
    from trainers.workdir.checkpoints import Checkpoints

    config = cli.load_config(case.config)
    for key, value in {**case.keys, "seed": seed}.items():
        settings.assign(config, key, value, "--config.")
    for key in ("picture_every", "checkpoint_every"):
        config[key] = 10**9
    config.mixture.num_components = 1
    resolved = settings.resolve(config)
    began, until = time.process_time(), config.num_batches - 1
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = train.train(resolved, workdir, until=until)
    # STOPPED is what a run says that ends at `until`, too.
    if code in (cli.STOPPED, cli.INTERRUPTED):
        steps = Checkpoints(workdir / "checkpoints").steps
        if not steps or steps[-1] < until:
            return code
    write_json(workdir / _DONE, {"seconds": round(time.process_time() - began, 1)})
    return cli.DONE


def judge(case: Case, workdir: Path) -> dict[str, Any]:
    """What the monitor says of a run.

    Returns:
      `findings` of the end, `ever` of any record before it, `seconds` of the processors that it
      took, `looks` and `health_seconds` of the monitor.
    """
    from trainers.workdir import findings, folder

    total = case.keys["num_batches"]
    records = folder.records(workdir)
    end = findings.find(records, total) + findings.diverged(workdir)
    looks = [i for i, r in enumerate(records) if findings.looked([r])]
    before = {f.name for i in looks for f in findings.find(records[: i + 1], total)}
    return {
        "findings": sorted({f.name for f in end}),
        "ever": sorted(before),
        **json.loads((workdir / _DONE).read_text()),
        "looks": len(looks),
        "health_seconds": round(sum(records[i].get("health_seconds", 0.0) for i in looks), 2),
    }


def table(results: dict[str, list[dict[str, Any]]], known: dict[str, Case]) -> str:
    """Markdown: of each case how many runs were judged rightly, and by which findings."""
    lines = ["| run | what | right | findings at the end (of how many runs) |", "|---|---|---|---|"]
    totals = {True: [0, 0], False: [0, 0]}
    for name, runs in results.items():
        case = known[name]
        right = sum(_right(case, r) for r in runs)
        healthy = not case.expected
        totals[healthy][0] += right
        totals[healthy][1] += len(runs)
        names = sorted({f for r in runs for f in r["findings"]})
        counts = (f"{f} {sum(f in r['findings'] for r in runs)}" for f in names)
        said = ", ".join(counts) or "none"
        lines.append(f"| `{name}` | {case.what} | {right} of {len(runs)} | {said} |")
    for healthy, (right, of) in totals.items():
        if of:
            what = "healthy runs, silent" if healthy else "ill runs, found"
            lines.append(f"| **{what}** | | **{right} of {of}** | |")
    return "\n".join(lines)


def _right(case: Case, result: dict[str, Any]) -> bool:
    found = set(result["findings"])
    return bool(found & set(case.expected)) if case.expected else not found


def _chosen(known: dict[str, Case], only: Sequence[str]) -> dict[str, Case]:
    if strange := [name for name in only if name not in known]:
        raise unknown("--only", strange[0], known, of="some of")
    return {name: case for name, case in known.items() if not only or name in only}


def main() -> int:
    """The command."""
    f = flags.FLAGS
    known = cases(f.tfds_dir)
    chosen = _chosen(known, f.only)
    seeds = integers("seeds", f.seeds, least=0)
    import_tensorflow()
    results: dict[str, list[dict[str, Any]]] = {}
    for name, case in chosen.items():
        for seed in seeds:
            workdir = Path(f.runs) / name / f"seed{seed}"
            if not (workdir / _DONE).is_file() and (code := run(case, seed, workdir)):
                return code
            result = judge(case, workdir)
            results.setdefault(name, []).append(result)
            mark = "right" if _right(case, result) else "WRONG"
            print(f"{name:<26} seed {seed}  {mark}  {', '.join(result['findings']) or 'none'}")
            print(f"    ever: {', '.join(result['ever']) or 'none'}; {result['seconds']} s of CPU")
            sys.stdout.flush()
    print(table(results, known))
    if f.output:
        write_json(Path(f.output), results)
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_string("tfds_dir", "", "Where TFDS's mnist and fashion_mnist are prepared.")
    flags.DEFINE_list("seeds", ["0", "1", "2"], "Of the runs.")
    flags.DEFINE_list("only", [], "Names of cases; by default all.")
    flags.DEFINE_string("runs", "runs/diagnoses", "Where the runs are kept.")
    flags.DEFINE_string("output", "", "Also write the results to this JSON file.")
    cli.main(main, sys.argv)
