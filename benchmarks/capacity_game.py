"""The capacity-limited game on the 25 Gaussians: does a mixed strategy help where none can be pure?

    python -m benchmarks.capacity_game            # the runs that are missing, then the tables
    python -m benchmarks.capacity_game --render   # tables and picture, from the record alone

The protocol is docs/results/protocol_study.md, what was found docs/results/capacity_game.md. The
record, docs/results/capacity_game.json, is written after every program of runs: a command that was
stopped goes on where it was. --tiny makes every run tiny, for a test of the command.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from scipy import stats

from benchmarks import kernel_means
from benchmarks.former import FORMER
from benchmarks.given import integers
from benchmarks.kernel_means import Normals
from benchmarks.studies import markdown
from tf_mixed_nash.errors import InputError, unknown
from trainers.campaigns import evidence
from trainers.system import cli
from trainers.system.files import make_writable, without_nan, write_atomically, write_json

__all__ = ["MARGIN", "PICTURE", "RECORD", "SETTINGS", "STEP_SIZES", "main", "tables", "verdicts"]

RECORD = Path("docs/results/capacity_game.json")
PICTURE = Path("docs/images/capacity_game.png")
WIDTHS = (1.0, 4.0, 16.0, 64.0)  # of the kernel, in sigmas
FREQUENCIES = (128, 64, 32, 32)  # of each width: the narrow ones need more
STEP_SIZES = tuple(round(10 ** (-3.25 + 0.25 * k), 7) for k in range(8))
TEMPERATURES = tuple(10.0**-k for k in range(8))
SWEEP_SEED = 100
POOL = 5
ANSWERS = ("last", "ema", "mixture")
SCHEDULE = "linear(end=0.1, until=0.75)"
# "Not worse" of the exact gap: as of the law distance.
MARGIN = {"gap": 0.01, "law_distance": 0.01}
_NUM_SAMPLES = 10_000
_LANGEVIN = ("mirror_gan", "mirror_prox_gan")
_OWN = ("damping", "preconditioner", "rms_decay", "rms_correction", "stability", "prior_std")
_OWN += ("weight_decay", "decay_1", "decay_2", "weight_step", "weight_floor")


class Setting(NamedTuple):
    """What is tuned, and then run with every seed.

    Attributes:
      algorithm: of the registry.
      num_particles: n' of the generators.
      weights: of the particles.
      hot: the temperature is swept, too, at the step size that was best for the mixture's gap.
      critic: the critic's step size is so many times the generators'.
      num_batches: mini-batches.
    """

    algorithm: str
    num_particles: int = 1
    weights: str = "uniform"
    hot: bool = False
    critic: float = 1.0
    num_batches: int = 5_000

    @property
    def name(self) -> str:
        """In the record."""
        words = [self.algorithm, str(self.num_particles), self.weights]
        words += ["hot"] * self.hot
        words += [f"critic{self.critic:g}"] * (self.critic != 1.0)
        words += [f"{self.num_batches}"] * (self.num_batches != 5_000)
        return "_".join(words)


SETTINGS = [
    Setting("rmsprop"),
    Setting("rmsprop", 25),
    Setting("mirror_gan"),
    Setting("adam"),
    Setting("mirror_prox_gan"),
    Setting("rmsprop", 5),
    Setting("rmsprop", 25, "learnt"),
    Setting("rmsprop", 5, "learnt"),
    Setting("mirror_gan", 25),
    Setting("adam", 25),
    Setting("mirror_prox_gan", 25),
    Setting("mirror_gan", hot=True),
    Setting("mirror_prox_gan", hot=True),
    # Beyond the protocol: a critic that lags, so that there is something to mix in time; more time.
    Setting("rmsprop", critic=0.1),
    Setting("rmsprop", critic=0.01),
    Setting("rmsprop", num_batches=50_000),
    Setting("rmsprop", 25, num_batches=50_000),
    Setting("rmsprop", 25, "learnt", num_batches=50_000),
    Setting("mirror_gan", 25, num_batches=50_000),
]
_TITLES = {"rmsprop": "RMSProp", "adam": "Adam", "mirror_gan": "Mirror-GAN"}
_TITLES["mirror_prox_gan"] = "Mirror-Prox-GAN"


def title_of(setting: Setting) -> str:
    """In a table."""
    num, weights = setting.num_particles, setting.weights
    more = "" if num == 1 else f", {num} particles" + (", learnt weights" * (weights == "learnt"))
    more += ", temperature swept" * setting.hot
    if setting.critic != 1.0:
        more += f", critic {1 / setting.critic:g} times slower"
    if setting.num_batches != 5_000:
        more += f", {setting.num_batches:,} mini-batches"
    return _TITLES[setting.algorithm] + more


# The law, and what an answer is worth.


@functools.cache
def _data() -> Any:
    from trainers.tasks.data import synthetic

    return synthetic.make("gaussians25")


def law() -> Normals:
    """The 25 Gaussians as normal laws."""
    data = _data()
    num, own = data.num_modes, data.sigma**2 * np.eye(2)
    return Normals(np.full(num, 1.0 / num), data.modes, np.tile(own, (num, 1, 1)))


def widths() -> list[float]:
    """The h of the kernel, in the data's unit."""
    return [h * _data().sigma for h in WIDTHS]


def normals_of(theta: np.ndarray, weights: np.ndarray) -> Normals:
    """The law of generators theta [m, 6] of these weights: N(b_j, A_j A_j^T)."""
    A = theta[:, 2:].reshape(-1, 2, 2)
    return Normals(weights, theta[:, :2], A @ A.transpose(0, 2, 1))


def score(theta: np.ndarray, weights: np.ndarray, seed: int) -> dict[str, float]:
    """Of a mixed strategy: the exact gap, and what 10,000 samples of it say; NaN if it diverged."""
    from tf_mixed_nash.metrics import law as laws

    names = ("gap", "weighed", "law_distance", "modes", "hq")
    if not (np.isfinite(theta).all() and np.abs(theta).max() < 1e3):
        return dict.fromkeys(names, math.nan)
    model, data, random = normals_of(theta, weights), _data(), np.random.default_rng(seed)
    atom = random.choice(len(weights), _NUM_SAMPLES, p=weights)
    z = random.normal(size=(_NUM_SAMPLES, 2))
    A = theta[atom, 2:].reshape(-1, 2, 2)
    x = theta[atom, :2] + np.einsum("nij,nj->ni", A, z)
    found, index, offset = laws.fit_of(x, data)
    near = np.linalg.norm(offset, axis=1) <= 3.0 * data.sigma
    weighed = kernel_means.fitted(model, law(), widths(), tolerance=1e-6, steps=3_000)
    values = (
        kernel_means.mmd(model, law(), widths()),
        weighed.mmd,
        found.law_distance,
        float(len(np.unique(index[:2_500][near[:2_500]]))),
        float(near.mean()),
    )
    return dict(zip(names, values, strict=True))


# Runs.


def _plan(setting: Setting, tiny: bool) -> Any:
    from benchmarks.kernel_game import Plan

    defaults = _defaults(setting)
    own = {key: defaults[key] for key in _OWN}
    return Plan(
        setting.algorithm,
        {k: (lambda t, v=v: v) if k == "weight_step" else v for k, v in own.items()},
        setting.num_particles,
        setting.weights,
        num_batches=40 if tiny else setting.num_batches,
        schedule=SCHEDULE,
        critic=setting.critic,
        num_snapshots=3 if tiny else 30,
    )


def _temperature_of(setting: Setting) -> float:
    return _defaults(setting)["temperature"]


def _defaults(setting: Setting) -> Mapping[str, Any]:
    """The hyperparameters beside what is swept; of one generator, those of former.py."""
    from configs import tuned

    if setting.num_particles > 1:
        return tuned.defaults(setting.algorithm, particles=True)
    return {**tuned.ANY, **FORMER[setting.algorithm]}


def _played(setting: Setting, runs: Sequence[Any], tiny: bool) -> list[dict[str, Any]]:
    """answer -> scores, with the generators under "theta" and "weights", of every run."""
    from benchmarks import kernel_game

    frequencies = (8, 8, 8, 8) if tiny else FREQUENCIES
    features = kernel_game.features_of(widths(), frequencies)
    done = kernel_game.train(_plan(setting, tiny), features, _data().sample, runs)
    return [
        {
            name: {
                **score(*answer, seed=run.seed),
                "theta": answer.theta,
                "weights": answer.weights,
            }
            for name, answer in answers.items()
        }
        for run, answers in zip(runs, done, strict=True)
    ]


def _numbers(answers: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    def rounded(x):
        return round(x, 6)

    return {
        name: {k: rounded(v) for k, v in one.items() if k not in ("theta", "weights")}
        for name, one in answers.items()
    }


def chosen(sweep: Mapping[str, Mapping[str, Mapping[str, Any]]], answer: str, number: str) -> str:
    """The key of a sweep at which an answer is best.

    Args:
      sweep: key -> answer -> numbers.
      answer: one of ANSWERS.
      number: what is reported: gaps are those of the least gap, all else that of the least law
        distance. What diverged is last.
    """
    by = "gap" if number in ("gap", "weighed") else "law_distance"

    def value(key: str) -> float:
        found = sweep[key][answer][by]
        return math.inf if found is None or math.isnan(found) else found

    return min(sweep, key=value)


def _todo(record: dict[str, Any], setting: Setting, seeds: Sequence[int]) -> Iterable[tuple]:
    """(where the numbers go, [(key, run)]) of the programs of a setting that are missing."""
    from benchmarks.kernel_game import Run

    mine = record["settings"].setdefault(setting.name, {"sweep": {}, "runs": {}})
    cold = _temperature_of(setting)
    if setting.hot:
        base = record["settings"][setting._replace(hot=False).name]
        gamma = float(chosen(base["sweep"], "mixture", "gap"))
        mine["step_size"] = gamma
        sweep = {f"{e:g}": Run(gamma, e, SWEEP_SEED) for e in TEMPERATURES}
    else:
        mine["temperature"] = cold
        sweep = {f"{g:g}": Run(g, cold, SWEEP_SEED) for g in STEP_SIZES}
    missing = {k: run for k, run in sweep.items() if k not in mine["sweep"]}
    if missing:
        yield mine["sweep"], list(missing.items())
    pairs = itertools.product(ANSWERS, MARGIN)
    wanted = sorted({chosen(mine["sweep"], *pair) for pair in pairs}, key=float)
    final = [
        (f"{key}/{seed}", sweep[key]._replace(seed=seed))
        for key, seed in itertools.product(wanted, seeds)
        if f"{key}/{seed}" not in mine["runs"]
    ]
    if final:
        yield mine["runs"], final


def _run_all(
    record: dict[str, Any],
    path: Path,
    settings: Sequence[Setting],
    seeds: Sequence[int],
    tiny: bool,
) -> None:
    from benchmarks.kernel_game import Run

    for setting in settings:
        for where, runs in _todo(record, setting, seeds):
            print(f"{setting.name}: {', '.join(key for key, _ in runs)}", flush=True)
            played = _played(setting, [run for _, run in runs], tiny)
            for (key, run), answers in zip(runs, played, strict=True):
                where[key] = _numbers(answers)
                if run.seed == seeds[0] and "/" in key:
                    _keep_generators(record, setting, key, answers)
            write_json(path, without_nan(record))
    # A pool of POOL independent runs of one generator for each seed, none of whose parts is shared.
    pools = record.setdefault("pool", {})
    missing = [seed for seed in seeds if str(seed) not in pools]
    if missing and SETTINGS[0] in settings:
        mine = record["settings"][SETTINGS[0].name]
        gamma = float(chosen(mine["sweep"], "last", "gap"))
        seeds_of = {seed: [1_000 + POOL * seed + j for j in range(POOL)] for seed in missing}
        runs = [Run(gamma, 0.0, s) for seed in missing for s in seeds_of[seed]]
        print(f"pool: {len(runs)} runs at {gamma:g}", flush=True)
        played = _played(SETTINGS[0], runs, tiny)
        for i, seed in enumerate(missing):
            parts = played[POOL * i : POOL * (i + 1)]
            pools[str(seed)] = {}
            for answer in ANSWERS:
                theta = np.concatenate([part[answer]["theta"] for part in parts])
                weights = np.concatenate([part[answer]["weights"] for part in parts]) / POOL
                pools[str(seed)][answer] = score(theta, weights, seed)
            pools[str(seed)] = _numbers(pools[str(seed)])
        write_json(path, without_nan(record))


def _keep_generators(record, setting: Setting, key: str, answers) -> None:
    """Those of the picture, of the first seed."""
    if setting.name not in {one.name for one, *_ in _PANELS}:
        return
    kept = record.setdefault("generators", {}).setdefault(setting.name, {})
    for name in ("last", "mixture"):
        if len(answers[name]["theta"]) <= 30:
            rows = np.concatenate([answers[name]["weights"][:, None], answers[name]["theta"]], 1)
            kept.setdefault(key, {})[name] = np.round(rows, 5).tolist()


def _bounds(record: dict[str, Any], path: Path, tiny: bool) -> None:
    """The least MMD of the game, and the least that was found of few atoms."""
    if "least" in record:
        return
    data = _data()
    half = float(np.diff(np.unique(data.modes[:, 0]))[0]) / 2
    line = np.arange(-4, 5) * half
    places = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
    deviations = data.sigma * np.array([0.0, 1.0, 4.0, 16.0, 64.0])
    programme = kernel_means.fitted(
        kernel_means.on_a_grid(places, deviations[:2] if tiny else deviations), law(), widths()
    )
    found = {}
    for num, learnt, starts in ((1, False, 5), (5, False, 10), (5, True, 10), (25, False, 2)):
        if tiny and num > 1:
            continue
        # From narrow generators, as trainings begin, and from such as are as wide as the data.
        found[f"{num} {'learnt' if learnt else 'uniform'}"] = [
            mmd
            for spread in ([1.0, 1.0, *[0.1] * 4], [1.0] * 6)
            for mmd in kernel_means.least_found(
                num, law(), widths(), learnt, 2 if tiny else starts, spread
            )
        ]
    record["least"] = {"programme": {"mmd": programme.mmd, "bound": programme.bound}, **found}
    write_json(path, without_nan(record))


# Tables.


def _values(record: Mapping[str, Any], setting: Setting, answer: str, number: str) -> dict:
    """seed -> number, at the step size that was best for it; infinite where it diverged."""
    mine = record["settings"].get(setting.name)
    if not mine or not mine["runs"]:
        return {}
    key = chosen(mine["sweep"], answer, number)
    found = {}
    for name, answers in mine["runs"].items():
        if name.rpartition("/")[0] == key:
            value = answers[answer][number]
            found[int(name.rpartition("/")[2])] = math.inf if value is None else value
    return found


def _pool(record: Mapping[str, Any], answer: str, number: str) -> dict[int, float]:
    return {int(seed): one[answer][number] for seed, one in record.get("pool", {}).items()}


def _cell(values: Iterable[float], digits: int) -> str:
    """Mean with its 95 % interval over the seeds, by Student's t."""
    values = list(values)
    if not values:
        return "-"
    mean = statistics.fmean(values)
    if len(values) < 2 or math.isinf(mean):
        return f"{mean:.{digits}f}"
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


_DIGITS = {"gap": 4, "weighed": 4, "law_distance": 2, "hq": 3, "modes": 1}
_HEAD = ("players", "answer", "exact gap", "with the best weights", "law distance", "HQ 3 sigma")
_HEAD += ("modes", "step size for gap, for law distance", "seeds")


def _steps(record: Mapping[str, Any], setting: Setting, answer: str) -> str:
    """At which step size (and temperature) gap and law distance are."""
    mine = record["settings"][setting.name]
    keys = [f"{float(chosen(mine['sweep'], answer, n)):.1e}" for n in MARGIN]
    text = ", ".join(keys)
    return f"{mine['step_size']:.1e}; epsilon {text}" if setting.hot else text


def numbers_table(record: Mapping[str, Any]) -> str:
    """Every player and answer."""
    rows = []
    for setting in SETTINGS:
        for answer in ANSWERS:
            if values := {n: _values(record, setting, answer, n) for n in _DIGITS}:
                if not values["gap"]:
                    continue
                cells = [_cell(v.values(), _DIGITS[n]) for n, v in values.items()]
                seeds = str(len(values["gap"]))
                rows.append(
                    [title_of(setting), answer, *cells, _steps(record, setting, answer), seeds]
                )
    for answer in ANSWERS:
        if (values := {n: _pool(record, answer, n) for n in _DIGITS}) and values["gap"]:
            cells = [_cell(v.values(), _DIGITS[n]) for n, v in values.items()]
            title = f"pool of {POOL} RMSProp runs"
            rows.append([title, answer, *cells, "last's", str(len(values["gap"]))])
    return markdown(_HEAD, rows)


def short_table(record: Mapping[str, Any]) -> str:
    """The lines that decide."""
    plain, long = Setting("rmsprop"), Setting("rmsprop", num_batches=50_000)
    lines = [
        ("one generator, last iterate", plain, "last"),
        ("**its time mixture**, 30 snapshots", plain, "mixture"),
        (
            "the time mixture of Mirror-GAN, temperature swept",
            Setting("mirror_gan", hot=True),
            "mixture",
        ),
        (f"a pool of {POOL} independent runs", None, "last"),
        ("5 particles", plain._replace(num_particles=5), "last"),
        ("**25 particles**", plain._replace(num_particles=25), "last"),
        ("one generator's time mixture, 50,000 mini-batches", long, "mixture"),
        ("**25 particles**, 50,000 mini-batches", long._replace(num_particles=25), "last"),
        ("the time mixture of these", long._replace(num_particles=25), "mixture"),
        (
            "the time mixture of 25 particles of Mirror-GAN, 50,000",
            Setting("mirror_gan", 25, num_batches=50_000),
            "mixture",
        ),
    ]
    rows = []
    for title, setting, answer in lines:
        numbers = ("gap", "law_distance", "hq")
        values = [
            _values(record, setting, answer, n) if setting else _pool(record, answer, n)
            for n in numbers
        ]
        cells = [_cell(v.values(), _DIGITS[n]) for n, v in zip(numbers, values, strict=True)]
        rows.append([title, *cells])
    return markdown(("RMSProp", "exact gap", "law distance", "HQ 3 sigma"), rows)


class Verdict(NamedTuple):
    """One comparison, judged with the others of its claim.

    Attributes:
      claim: that a is better, or not worse by the margin.
      number: gap or law_distance.
      one: what a is.
      two: what b is.
      evidence: of a against b.
    """

    claim: str
    number: str
    one: str
    two: str
    evidence: evidence.Evidence


BETTER = "particles are better than the time mixture of RMSProp"
NOT_WORSE = "the time mixture of RMSProp is not worse than particles"
ANY_BETTER = "a time mixture is better than the last iterate of the same runs"
NOISE = "the paper's time mixture is better than RMSProp's"
OVER_POOL = "particles of RMSProp are better than a pool of five runs"
MIRRORS = "25 particles of Mirror-GAN are better than those of RMSProp"
_CLAIMS = (NOT_WORSE, BETTER, ANY_BETTER, NOISE, OVER_POOL, MIRRORS)


def _compared(record: Mapping[str, Any], claim: str, number: str) -> list[tuple]:
    """(name, values, name, values, paired) of the comparisons of a claim."""
    particles = [s for s in SETTINGS if s.num_particles > 1]
    rmsprop = "RMSProp's time mixture"

    def own(num_batches: int):
        return _values(record, Setting("rmsprop", num_batches=num_batches), "mixture", number)

    if claim in (BETTER, NOT_WORSE):
        rows = []
        for s in particles:
            two = (f"{title_of(s)}, last", _values(record, s, "last", number))
            one = (rmsprop, own(s.num_batches))  # of as many mini-batches
            rows.append((*two, *one, False) if claim == BETTER else (*one, *two, False))
        return rows
    if claim == ANY_BETTER:
        return [
            (
                f"{title_of(s)}, mixture",
                _values(record, s, "mixture", number),
                "last",
                _values(record, s, "last", number),
                True,
            )
            for s in SETTINGS
        ]
    if claim == MIRRORS:
        rows = []
        for num_batches, answer in itertools.product((5_000, 50_000), ("last", "mixture")):
            two = (Setting(a, 25, num_batches=num_batches) for a in ("mirror_gan", "rmsprop"))
            sides = [(f"{title_of(s)}, {answer}", _values(record, s, answer, number)) for s in two]
            rows.append((*sides[0], *sides[1], True))
        return rows
    if claim == NOISE:
        return [
            (
                f"{title_of(s)}, mixture",
                _values(record, s, "mixture", number),
                rmsprop,
                own(5_000),
                True,
            )
            for s in SETTINGS
            if s.algorithm in _LANGEVIN and s.num_particles == 1
        ]
    return [
        (
            f"{title_of(s)}, last",
            _values(record, s, "last", number),
            f"pool, {answer}",
            _pool(record, answer, number),
            False,
        )
        for s in particles
        if s.algorithm == "rmsprop" and s.num_batches == 5_000
        for answer in ("last", "mixture")
    ]


def verdicts(record: Mapping[str, Any]) -> list[Verdict]:
    """Every comparison of every claim; Holm's correction is over those of a claim and a number."""
    found = []
    for claim, number in itertools.product(_CLAIMS, MARGIN):
        margin = MARGIN[number] if claim == NOT_WORSE else None
        rows = [
            (a, b, evidence.weigh(x, y, abs, paired, margin))
            for a, x, b, y, paired in _compared(record, claim, number)
            if x and y
        ]
        judged = evidence.judged([e for *_, e in rows], margin)
        found += [
            Verdict(claim, number, a, b, e) for (a, b, _), e in zip(rows, judged, strict=True)
        ]
    return found


_OUTCOMES = {"better": "holds", "worse": "does not hold", "undecided": "undecided"}


_NUMBERS = {"gap": "exact gap", "law_distance": "law distance"}


def claims_table(record: Mapping[str, Any]) -> str:
    """How many comparisons of each claim hold."""
    found = verdicts(record)
    rows = []
    for claim, number in itertools.product(_CLAIMS, MARGIN):
        outcomes = [v.evidence.outcome for v in found if v.claim == claim and v.number == number]
        counts = {text: outcomes.count(key) for key, text in _OUTCOMES.items()}
        told = [str(counts[text]) if counts[text] else "-" for text in _OUTCOMES.values()]
        rows.append([claim, _NUMBERS[number], str(len(outcomes)), *told])
    return markdown(("claim", "by", "comparisons", *_OUTCOMES.values()), rows)


def comparisons_table(record: Mapping[str, Any]) -> str:
    """What each comparison decides."""
    rows = [
        [
            v.claim,
            _NUMBERS[v.number],
            f"{v.one} against {v.two}",
            f"**{_OUTCOMES.get(v.evidence.outcome, v.evidence.outcome)}**",
            evidence.gains(v.evidence, 4 if v.number == "gap" else 2),
        ]
        for v in verdicts(record)
    ]
    return markdown(("claim", "by", "comparison", "", "gain"), rows)


def least_table(record: Mapping[str, Any]) -> str:
    """The bounds."""
    least = record.get("least")
    if not least:
        return "Not computed yet."
    rows = [
        ["any weights and atoms", f"{least['programme']['bound']:.4f}", "at least (proved)"],
        [
            "any weights and atoms",
            f"{least['programme']['mmd']:.4f}",
            "reached by the convex programme",
        ],
    ]
    for name, values in least.items():
        if name != "programme":
            num, weights = name.split()
            atoms = "one generator" if num == "1" else f"{num} generators, {weights} weights"
            rows.append([atoms, f"{min(values):.4f}", f"the least of {len(values)} descents"])
    return markdown(("mixed strategies", "MMD", ""), rows)


def tables(given: Mapping[str, Any] | None = None) -> dict[str, str]:
    """name -> Markdown, of the committed record by default."""
    record: Any = given or json.loads((Path(__file__).parents[1] / RECORD).read_text())
    return {
        "least": least_table(record),
        "short": short_table(record),
        "numbers": numbers_table(record),
        "claims": claims_table(record),
        "comparisons": comparisons_table(record),
    }


# The picture.


_PANELS = [
    (Setting("rmsprop"), "last", "one generator (RMSProp, last iterate)"),
    (Setting("rmsprop"), "mixture", "the time mixture of RMSProp: 30 snapshots"),
    (Setting("rmsprop", 25), "last", "25 particles of RMSProp"),
    (Setting("rmsprop", 25, num_batches=50_000), "last", "25 particles, ten times as long"),
]


def draw(record: Mapping[str, Any], path: Path) -> None:
    """The generators of the first seed as ellipses of two standard deviations over the modes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.patches import Ellipse

    data = _data()
    figure, axes = plt.subplots(1, len(_PANELS), figsize=(4 * len(_PANELS), 4.4), dpi=100)
    for ax, (setting, answer, title) in zip(axes, _PANELS, strict=True):
        mine = record["settings"][setting.name]
        key = chosen(mine["sweep"], answer, "gap")
        kept = record["generators"][setting.name]
        name = next(k for k in kept if k.rpartition("/")[0] == key)
        rows = np.asarray(kept[name][answer])
        for mode in data.modes:
            ax.add_patch(Ellipse(mode, *[6 * data.sigma] * 2, color="0.6", zorder=1))
        for weight, *theta in rows:
            A = np.reshape(theta[2:], (2, 2))
            values, vectors = np.linalg.eigh(A @ A.T)
            angle = math.degrees(math.atan2(vectors[1, 1], vectors[0, 1]))
            size = 4 * np.sqrt(np.maximum(values, 1e-6))
            strength = min(1.0, 0.25 + 6 * weight)
            ax.add_patch(
                Ellipse((theta[0], theta[1]), size[1], size[0], angle=angle, fill=False, lw=1.2,
                        color="tab:red", alpha=strength, zorder=2)
            )  # fmt: skip
            ax.plot(*theta[:2], ".", color="tab:red", ms=3, alpha=strength, zorder=3)
        gap = mine["runs"][name][answer]["gap"]
        ax.set(title=f"{title}\nexact gap {gap:.3f}", xlim=(-2.3, 2.3), ylim=(-2.3, 2.3))
        ax.set_aspect("equal")
        ax.set_xticks([])
        ax.set_yticks([])
        ax.title.set_fontsize(10)
    figure.tight_layout()
    write_atomically(
        path, lambda p: figure.savefig(p, bbox_inches="tight", metadata={"Software": None})
    )
    plt.close(figure)


def main() -> int:
    """The command."""
    f = flags.FLAGS
    seeds = integers("seeds", f.seeds, least=0)
    known = {setting.name: setting for setting in SETTINGS}
    if strange := [name for name in f.settings if name not in known]:
        raise unknown("setting", strange[0], known, "; or none for all", of="some of")
    settings = [known[name] for name in f.settings] or SETTINGS
    path, picture = Path(f.record), Path(f.picture)
    if f.render and not path.is_file():
        raise InputError(f"--render needs a record, and there is none at {path}. Run without it.")
    record = json.loads(path.read_text()) if path.is_file() else {"settings": {}}
    make_writable(path.parent, "--record")
    make_writable(picture.parent, "--picture")
    if not f.render:
        from trainers.system.quiet import import_tensorflow

        import_tensorflow().config.threading.set_intra_op_parallelism_threads(1)
        _run_all(record, path, settings, seeds, f.tiny)
        _bounds(record, path, f.tiny)
    for name, text in tables(record).items():
        print(f"\n### {name}\n\n{text}")
    if {setting.name for setting, *_ in _PANELS} <= set(record.get("generators", {})):
        draw(record, picture)
    else:
        print("\nNo picture: its settings have not all been run.")
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_list("seeds", ["0", "1", "2", "3", "4"], "Seeds separated by commas.")
    flags.DEFINE_list("settings", [], "Names of some settings, separated by commas; none: all.")
    flags.DEFINE_string("record", str(RECORD), "The file of what ended.")
    flags.DEFINE_string("picture", str(PICTURE), "Where the picture goes.")
    flags.DEFINE_bool("render", False, "Only prints the tables and draws the picture.")
    flags.DEFINE_bool("tiny", False, "A few mini-batches, for a test.")
    cli.main(main, sys.argv)
