"""The paper's rates on random matrix games, and the values against linear programmes.

    python -m benchmarks.rates [--cache=runs/rates.json] [--table=docs/rates.md]
        [--figure=docs/images/rates.png]

Games are scaled to payoffs in [-1, 1]. Mirror-Prox and anytime mirror descent are one run
each, with the gap of the averages at log-spaced steps. Mirror descent with the horizon's
constant step and stochastic Mirror-Prox are one run per horizon, as their theorems are.
A slope is the least-squares line of log gap over log steps in the stated range. Results of
a game are kept in the cache: an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from absl import app, flags

from trainers.system.quiet import import_tensorflow

_CACHE = flags.DEFINE_string("cache", "runs/rates.json", "where finished games are kept")
_TABLE = flags.DEFINE_string("table", "docs/rates.md", "the table to write")
_FIGURE = flags.DEFINE_string("figure", "docs/images/rates.png", "the figure to write")

FIRST, LAST = 100, 10_000  # the steps over which slopes are fitted
HORIZONS = (100, 316, 1000, 3162, 10_000)
STOCHASTIC_SIZE = 400  # the largest game of stochastic Mirror-Prox
NUM_SAMPLED = 8
SHAPES = (
    (10, 10), (10, 30), (30, 10), (30, 30), (50, 100), (100, 50), (100, 100),
    (100, 300), (300, 100), (200, 200), (300, 300), (10, 400), (400, 10), (400, 400),
)  # fmt: skip
LINES = ("MD", "MD anytime", "MP", "stochastic MP")


def games() -> dict[str, np.ndarray]:
    """name -> payoff A [n, m] with largest magnitude 1."""
    kinds = ("uniform", "Gaussian", "low rank")
    cases = [(kinds[i % 3], shape) for i, shape in enumerate(SHAPES)]
    cases += [(kinds[(i + 1) % 3], shape) for i, shape in enumerate(SHAPES[:5])]
    cases += [("uniform", (1000, 1000)), ("Gaussian", (500, 1000)), ("low rank", (1000, 300))]
    result = {}
    for i, (kind, (n, m)) in enumerate(cases):
        random = np.random.default_rng(1000 + i)
        if kind == "uniform":
            A = random.uniform(-1, 1, (n, m))
        elif kind == "Gaussian":
            A = random.normal(size=(n, m))
        else:
            A = random.normal(size=(n, 5)) @ random.normal(size=(5, m))
        result[f"{kind} {n}x{m}"] = A / np.abs(A).max()
    return result


def lp_value(A: np.ndarray) -> float:
    """min_p max_q -<q, A p> by SciPy's HiGHS: min v with -A p <= v."""
    from scipy.optimize import linprog

    n, m = A.shape
    solution = linprog(
        np.r_[np.zeros(m), 1.0],
        A_ub=np.c_[-A, -np.ones(n)],
        b_ub=np.zeros(n),
        A_eq=np.r_[np.ones(m), 0.0][None],
        b_eq=[1.0],
        bounds=[(0, None)] * m + [(None, None)],
        method="highs-ipm" if n * m >= 500_000 else "highs",
    )
    if not solution.success:
        raise RuntimeError(f"linprog failed: {solution.message}")
    return float(solution.fun)


def slope(steps, gaps) -> float:
    """Of log gap over log steps, within [FIRST, LAST]."""
    from trainers.games import report

    return report.slope(steps, gaps, first=FIRST / LAST)


def measure(name: str, A: np.ndarray) -> dict:
    """Steps and gaps of every line, the slopes, and the values."""
    from tf_mixed_nash import MatrixGame
    from tf_mixed_nash.solvers import matrix

    game, began = MatrixGame(A, name=name), time.perf_counter()
    curves = {}

    def horizons(method, **kwargs):
        runs = [matrix.solve(game, method, T, records_per_decade=1, **kwargs) for T in HORIZONS]
        return {"step": list(HORIZONS), "gap": [s.gap for s in runs]}, runs[-1].value

    def trajectory(method, **kwargs):
        s = matrix.solve(game, method, LAST, records_per_decade=8, **kwargs)
        return {key: s.history[key].tolist() for key in ("step", "gap")}, s.value

    values = {}
    curves["MP"], values["MP"] = trajectory("mirror_prox")
    curves["MD anytime"], values["MD anytime"] = trajectory("mirror_descent", anytime=True)
    curves["MD"], values["MD"] = horizons("mirror_descent")
    if max(A.shape) <= STOCHASTIC_SIZE:
        curves["stochastic MP"], _ = horizons("mirror_prox", num_sampled=NUM_SAMPLED, seed=1)
    seconds = time.perf_counter() - began
    return {
        "curves": curves,
        "slopes": {line: slope(c["step"], c["gap"]) for line, c in curves.items()},
        "value": values,
        "lp": lp_value(A),
        "seconds": seconds,
    }


def table(results: dict[str, dict]) -> str:
    """Markdown."""

    def median(line):
        return float(
            np.median([r["slopes"][line] for r in results.values() if line in r["slopes"]])
        )

    def worst(line):
        return max(abs(r["value"][line] - r["lp"]) for r in results.values())

    lines = [
        "# Rates on random matrix games",
        "",
        f"`python -m benchmarks.rates`: {len(results)} games, payoffs scaled to [-1, 1], gap of "
        f"the averages, slopes fitted over steps {FIRST} to {LAST}. MD: the horizon's constant "
        "step, one run per horizon; MD anytime: eta_t = eta / sqrt(t), weighted averages, one "
        f"run; stochastic MP: {NUM_SAMPLED} sampled strategies per product, one run and one seed "
        f"per horizon, games up to {STOCHASTIC_SIZE} strategies. Its step sizes come from a loose "
        "bound on the noise, so that short horizons hardly leave the start and slopes over this "
        "range are flatter than the theorem's. "
        "LP: SciPy HiGHS; the errors are of F(p, q) at the averages after "
        f"{LAST} steps.",
        "",
        "| line | median slope | theory | largest error of the value |",
        "|---|---|---|---|",
    ]
    for line, theory in zip(LINES, ("-0.5", "-0.5, times log T", "-1", "-0.5"), strict=True):
        error = f"{worst(line):.1e}" if line != "stochastic MP" else ""
        lines.append(f"| {line} | {median(line):.3f} | {theory} | {error} |")
    lines += [
        "",
        "| game | MD | MD anytime | MP | stochastic MP | MP gap | LP value | MP error | MD error |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, r in results.items():
        slopes = " | ".join(
            f"{r['slopes'][line]:.3f}" if line in r["slopes"] else "" for line in LINES
        )
        lines.append(
            f"| {name} | {slopes} | {r['curves']['MP']['gap'][-1]:.1e} | {r['lp']:.6f} | "
            f"{abs(r['value']['MP'] - r['lp']):.1e} | {abs(r['value']['MD'] - r['lp']):.1e} |"
        )
    return "\n".join(lines) + "\n"


def figure(results: dict[str, dict], path: Path) -> None:
    """Gap over steps, one panel per line."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    fig, axes = plt.subplots(1, len(LINES), figsize=(15, 4), sharey=True)
    for ax, line, rate in zip(axes, LINES, (-0.5, -0.5, -1.0, -0.5), strict=True):
        chosen = [r for r in results.values() if line in r["curves"]]
        for r in chosen:
            ax.loglog(r["curves"][line]["step"], r["curves"][line]["gap"], lw=0.7, alpha=0.6)
        T = np.array([FIRST, LAST], float)
        ax.loglog(T, 2.0 * FIRST**-rate * T**rate * 0.2, "k--", lw=2, label=f"slope {rate:g}")
        middle = np.median([r["slopes"][line] for r in chosen])
        ax.set(title=f"{line}: median slope {middle:.2f}", xlabel="steps")
        ax.legend()
    axes[0].set_ylabel("duality gap of the averages")
    fig.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=110)
    plt.close(fig)


def main(argv):
    """Runs what the cache lacks; writes the table and the figure."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    import_tensorflow()
    cache = Path(_CACHE.value)
    cache.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(cache.read_text()) if cache.exists() else {}
    for name, A in games().items():
        if name not in results:
            results[name] = measure(name, A)
            cache.write_text(json.dumps(results))
            r = results[name]
            slopes = ", ".join(f"{line} {s:.2f}" for line, s in r["slopes"].items())
            print(f"{name}: {slopes}; {r['seconds']:.0f} s", flush=True)
    results = {name: results[name] for name in games()}
    text = table(results)
    Path(_TABLE.value).write_text(text)
    figure(results, Path(_FIGURE.value))
    print(text)
    if not (
        np.median([r["slopes"]["MD"] for r in results.values()]) <= -0.45
        and np.median([r["slopes"]["MP"] for r in results.values()]) <= -0.9
        and all(abs(r["value"]["MP"] - r["lp"]) <= 1e-3 for r in results.values())
    ):
        sys.exit("The rates or the values are not what theory promises; see the table.")


if __name__ == "__main__":
    app.run(main)
