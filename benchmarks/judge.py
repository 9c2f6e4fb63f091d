"""Whether the judge can be fooled: fakes of known faults against real data, number by number.

    python -m benchmarks.judge          # the table of docs/results/judge.md, 20 minutes
    python -m benchmarks.judge --sizes=2500 --draws=20 --wasserstein_draws=0   # a look, a minute
    python -m benchmarks.judge --failures   # in what order it puts answers that are wholly wrong

A fake is a set of samples of a law that differs from the data's in one known way. For every fake
and number of samples it says how often the number prefers fresh real data to it, over all pairs of
a real draw and a fake one: 1 always, 0.5 is blind. `law_distance`, which sweeps and studies
minimise, must say at least 0.95 of every fake at the study's number of samples; exit code 1 if not.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from benchmarks.given import integers
from tf_mixed_nash.errors import unknown
from tf_mixed_nash.metrics import law
from tf_mixed_nash.metrics.scorecard import wasserstein2
from trainers.system import cli
from trainers.system.files import make_writable, write_atomically, write_json
from trainers.tasks.data import synthetic

__all__ = ["FAILURES", "FAKES", "SETS", "STUDY_SAMPLES", "Draw", "main", "preferred", "table"]

SETS = ("gaussians8", "gaussians25", "gaussians25_unequal", "swissroll")
# What scorecards are made of, by default (`kinds.PlanarCard`).
STUDY_SAMPLES = 10_000
_LEVEL = 0.95
_NUMBERS = ("law_distance", "energy_distance", "shape_distance", "mode_kl", "bridge_mass")


class Draw(NamedTuple):
    """Samples before a fake's fault: x = centre + offset.

    Attributes:
      centre: [n, 2], the mode of each, or its place on the curve.
      offset: [n, 2], N(0, sigma^2 I).
      mode: int [n].
      random: for the faults.
    """

    centre: np.ndarray
    offset: np.ndarray
    mode: np.ndarray
    random: np.random.Generator


class _Set:
    """A data set of the plane in NumPy, with its modes' masses changed at will."""

    def __init__(self, name: str):
        plain, _, unequal = name.partition("_")
        self.data: Any = synthetic.make(plain)
        if unequal:
            # Masses from 0.15 to 0.005, neighbours on the grid far apart in their order.
            rank = 7 * np.arange(self.data.num_modes) % self.data.num_modes
            masses = 30.0 ** (-rank / (self.data.num_modes - 1))
            self.data.masses = masses / masses.sum()
        self.masses = law.weights_of(self.data)

    def draw(self, num: int, masses: np.ndarray, random: np.random.Generator) -> Draw:
        mode = random.choice(len(masses), num, p=masses / masses.sum())
        if hasattr(self.data, "modes"):
            centre = self.data.modes[mode]
        else:
            centre = _on_the_roll((mode + random.random(num)) / len(masses))
        return Draw(centre, self.data.sigma * random.normal(size=(num, 2)), mode, random)


def _on_the_roll(part: np.ndarray) -> np.ndarray:
    t = 1.5 * np.pi * (1.0 + 2.0 * part)
    return np.stack([np.cos(t), np.sin(t)], 1) * t[:, None] / synthetic.SwissRoll.scale


class Fake(NamedTuple):
    """A fault.

    Attributes:
      masses: masses of the modes -> those of the fake.
      samples: (Draw, sigma) -> [n, 2].
      sets: that it exists on, by the beginnings of their names.
    """

    masses: Callable[[np.ndarray], np.ndarray]
    samples: Callable[[Draw, float], np.ndarray]
    sets: tuple[str, ...] = SETS


def _same(masses):
    return masses


def _plain(d: Draw, sigma: float) -> np.ndarray:
    return d.centre + d.offset


def _scaled(*factors: float):
    return lambda d, sigma: d.centre + np.array(factors) * d.offset


def _bridges(share: float):
    def samples(d: Draw, sigma: float) -> np.ndarray:
        n = len(d.centre)
        other = d.centre[d.random.permutation(n)]
        part = d.random.random([n, 1]) * (d.random.random([n, 1]) < share)
        return (1.0 - part) * d.centre + part * other + d.offset

    return samples


def _ring(d: Draw, sigma: float) -> np.ndarray:
    radius = np.linalg.norm(d.offset, axis=1, keepdims=True)
    return d.centre + np.sqrt(2.0) * sigma * d.offset / radius


def _halves(d: Draw, sigma: float) -> np.ndarray:
    narrow = np.where(d.mode % 2, 0.75, 1.2)
    return d.centre + narrow[:, None] * d.offset


def _arcs_to_points(d: Draw, sigma: float) -> np.ndarray:
    return _on_the_roll((d.mode + 0.5) / synthetic.SwissRoll.num_modes) + d.offset


def _lost(masses: np.ndarray) -> np.ndarray:
    return np.where(np.arange(len(masses)) == np.argmin(masses), 0.0, masses)


def _half_missing(masses: np.ndarray) -> np.ndarray:
    middle = np.argsort(masses, kind="stable")[len(masses) // 2]
    return np.where(np.arange(len(masses)) == middle, 0.5 * masses, masses)


def _swapped(masses: np.ndarray) -> np.ndarray:
    if np.ptp(masses) < 1e-9:  # equal ones have nothing to swap: every second one is lighter
        return masses * np.where(np.arange(len(masses)) % 2, 0.8, 1.2)
    order = np.argsort(masses, kind="stable")
    pairs = order[: 2 * (len(order) // 2)].reshape(-1, 2)
    swapped = masses.copy()
    swapped[pairs[:, 0]], swapped[pairs[:, 1]] = masses[pairs[:, 1]], masses[pairs[:, 0]]
    return swapped


_GAUSSIANS = SETS[:3]
FAKES = {
    "every mode a point": Fake(_same, _scaled(0.0)),
    "narrow, 0.8 sigma": Fake(_same, _scaled(0.8)),
    "too wide, 1.2 sigma": Fake(_same, _scaled(1.2)),
    "anisotropic, 0.6 and 1.35 sigma": Fake(_same, _scaled(0.6, 1.35)),
    "anisotropic, 0.8 and 1.17 sigma": Fake(_same, _scaled(0.8, 1.17)),
    "half of the modes 0.75 sigma, half 1.2": Fake(_same, _halves),
    "rings of the right variance": Fake(_same, _ring, _GAUSSIANS),
    "35 % on bridges": Fake(_same, _bridges(0.35)),
    "2 % on bridges": Fake(_same, _bridges(0.02)),
    "half of one mode missing": Fake(_half_missing, _plain),
    "the lightest mode lost": Fake(_lost, _plain),
    "masses swapped, or 0.8 and 1.2 of them": Fake(_swapped, _plain),
    "the grid shifted by 0.3 sigma": Fake(
        _same, lambda d, s: _plain(d, s) + np.array([0.3 * s, 0.0])
    ),
    "every arc a point": Fake(_same, _arcs_to_points, ("swissroll",)),
}


def _shifted(sigmas: float):
    return lambda d, s: _plain(d, s) + np.array([sigmas * s, 0.0])


# Answers that are wholly wrong.
FAILURES: dict[str, Callable[[Draw, float], np.ndarray]] = {
    "real data": _plain,
    "N(0, I)": lambda d, s: d.random.normal(size=d.centre.shape),
    "every sample one point, a mode": lambda d, s: np.repeat(d.centre[:1], len(d.centre), 0),
    "every sample one point, (0.35, 0.35)": lambda d, s: np.zeros_like(d.centre) + 0.35,
    "all modes shifted by 3 sigma": _shifted(3.0),
    "by 4.5 sigma, narrow": lambda d, s: d.centre + 0.1 * d.offset + np.array([4.5 * s, 0.0]),
    "by 4.9 sigma, narrow": lambda d, s: d.centre + 0.1 * d.offset + np.array([4.9 * s, 0.0]),
}  # fmt: skip


def failures(seed: int = 0) -> str:
    """Markdown: the distance of answers that are wholly wrong, on the 8 and the 25 Gaussians."""
    sets = [_Set(name) for name in SETS[:2]]
    lines = [
        "| samples | " + " | ".join(f"{s}, law distance" for s in SETS[:2]) + " |",
        "|---|---|---|",
    ]
    for title, samples in FAILURES.items():
        found = []
        for one in sets:
            d = one.draw(STUDY_SAMPLES, one.masses, np.random.default_rng(seed))
            found.append(law.distance_from_law(samples(d, one.data.sigma), one.data))
        lines.append(f"| {title} | " + " | ".join(f"{x:.2f}" for x in found) + " |")
    return "\n".join(lines) + "\n"


def numbers(samples: np.ndarray, data: Any) -> dict[str, float]:
    """What is compared, the less the better."""
    fitted, index, _ = law.fit_of(samples, data)
    return {
        "law_distance": fitted.law_distance,
        "energy_distance": law.energy_distance(samples[:2_500], data.law),
        "shape_distance": fitted.shape_distance,
        "mode_kl": law.mode_kl(np.bincount(index, minlength=data.num_modes), law.weights_of(data)),
        "bridge_mass": fitted.bridge_mass,
    }


def preferred(real: Sequence[float], fake: Sequence[float]) -> float:
    """How often a real number is below a fake one, of all pairs; equal ones count half."""
    a, b = np.asarray(real)[:, None], np.asarray(fake)[None]
    return float((a < b).mean() + 0.5 * (a == b).mean())


class Row(NamedTuple):
    """A fake on a data set at a number of samples.

    Attributes:
      dataset, fake, samples: which.
      preferred: number -> how often it prefers real data.
      means: number -> its means, (of real data, of the fake).
    """

    dataset: str
    fake: str
    samples: int
    preferred: Mapping[str, float]
    means: Mapping[str, tuple[float, float]]


def rows_of(
    name: str,
    samples: int,
    draws: int,
    wasserstein_draws: int,
    seed: int,
    fakes: Sequence[str] = (),
) -> list[Row]:
    """Every fake of a data set, or those called so, at a number of samples."""
    made = _Set(name)
    sigma = made.data.sigma

    def drawn(fake: Fake, number: int) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for i in range(draws):
            random = np.random.default_rng([seed, number, i])
            x = fake.samples(made.draw(samples, fake.masses(made.masses), random), sigma)
            scores = numbers(x, made.data)
            if i < wasserstein_draws:
                other = np.random.default_rng([seed, 10**6 + number, i])
                y = _plain(made.draw(2_000, made.masses, other), sigma)
                scores["wasserstein2"] = wasserstein2(x[:2_000], y[: len(x)])
            for key, value in scores.items():
                found.setdefault(key, []).append(value)
        return found

    real = drawn(Fake(_same, _plain), 0)
    rows = []
    for number, (title, fake) in enumerate(FAKES.items(), 1):
        if name not in fake.sets or (fakes and title not in fakes):
            continue
        mine = drawn(fake, number)
        rows.append(
            Row(
                name,
                title,
                samples,
                {key: preferred(real[key], mine[key]) for key in mine},
                {key: (float(np.mean(real[key])), float(np.mean(mine[key]))) for key in mine},
            )
        )
    return rows


def table(rows: Sequence[Row]) -> str:
    """As Markdown: one line a fake, how often each number prefers real data."""
    keys = [k for k in (*_NUMBERS, "wasserstein2") if any(k in r.preferred for r in rows)]
    lines = [
        "| data | samples | fake | " + " | ".join(keys) + " | law_distance, real | fake |",
        "|" + "---|" * (len(keys) + 5),
    ]
    for row in rows:
        cells = [f"{row.preferred[k]:.2f}" if k in row.preferred else "" for k in keys]
        means = (f"{value:.4f}" for value in row.means["law_distance"])
        lines.append(
            f"| {row.dataset} | {row.samples:,} | {row.fake} | "
            + " | ".join([*cells, *means])
            + " |"
        )
    return "\n".join(lines) + "\n"


def fooled(rows: Sequence[Row]) -> list[Row]:
    """Those that the objective does not tell from real data at the study's number of samples."""
    return [r for r in rows if r.samples == STUDY_SAMPLES and r.preferred["law_distance"] < _LEVEL]


def main() -> int:
    """The command."""
    f = flags.FLAGS
    sizes = integers("sizes", f.sizes)
    if f.failures:
        print(failures(f.seed), end="")
        return 0
    for flag, given, known in (("sets", f.sets, SETS), ("fakes", f.fakes, FAKES)):
        if strange := [name for name in given if name not in known]:
            raise unknown(f"--{flag}", strange[0], known, of="some of")
    if f.output:
        make_writable(Path(f.output).parent, "--output")
    rows, began = [], time.process_time()
    for name in f.sets:
        for samples in sizes:
            # W2 reads 2,000 of them, however many there are.
            few = f.wasserstein_draws if samples == min(sizes) else 0
            found = rows_of(name, samples, f.draws, few, f.seed, f.fakes)
            print(table(found), flush=True)
            rows += found
    text = table(rows)
    print(f"{f.draws} draws of each, {time.process_time() - began:.0f} CPU seconds")
    if f.output:
        write_atomically(Path(f.output), lambda p: p.write_text(text))
        write_json(Path(f.output).with_suffix(".json"), [r._asdict() for r in rows])
    for row in fooled(rows):
        share = row.preferred["law_distance"]
        print(f"fooled: {row.dataset}, {row.fake}: real data first in {share:.2f} of the pairs")
    return 1 if fooled(rows) else 0


if __name__ == "__main__":
    flags.DEFINE_list("sets", list(SETS), "Data sets.")
    flags.DEFINE_multi_string("fakes", [], "A fake, by name, once for each; none: all.")
    flags.DEFINE_list("sizes", ["2500", str(STUDY_SAMPLES)], "Numbers of samples.")
    flags.DEFINE_integer("draws", 40, "Of real data and of each fake.", lower_bound=2)
    flags.DEFINE_integer("wasserstein_draws", 10, "Of the draws at the least size, with W2.")
    flags.DEFINE_integer("seed", 0, "Of the draws.")
    flags.DEFINE_bool("failures", False, "The distances of wholly wrong answers, and no more.")
    flags.DEFINE_string("output", "", "FILE.md for the table; FILE.json beside it.")
    cli.main(main, sys.argv)
