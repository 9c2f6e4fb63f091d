"""docs/algorithms/NAME.md, one for each entry of the registry, and the table of all of them."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.pages.code import ALGORITHMS as FILE
from benchmarks.pages.code import ROOT, Piece, names_in, pieces_of
from benchmarks.pages.tables import line_of, lost
from benchmarks.peers.common import ALGORITHMS as PEERS
from benchmarks.studies import markdown, paper_study
from configs import tuned
from tests.chaos import CASES as CHAOS
from tests.fingerprint_cases import CASES as GOLDEN
from trainers.campaigns.study.protocol import PROTOCOLS
from trainers.system import names

__all__ = ["PSEUDO", "overview", "page", "pages"]

# Those of the committed records.
STUDIED = PROTOCOLS["narrow"].algorithms

_MD = "theta, w <- MD(theta; w), MD(w; theta)          both against the old opponent"
_ONE_STEP = "MD(z; v) = z - gamma_t P g,   g = the field of z's player at (z, v) on a mini-batch"
_INNER = """MD(z; v):                                        K_t Langevin steps, damped twice
    z_bar = x = z
    for k = 1 .. K_t:
        x     <- x - gamma_t P g(x; v) + sqrt(2 gamma_t eps_t P) xi,   xi ~ N(0, I)
        z_bar <- (1 - beta) z_bar + beta x
    return (1 - beta) z + beta z_bar"""
_TWO = """theta_t, w_t         <- MD(theta_tilde; w_tilde), MD(w_tilde; theta_tilde)
theta_tilde, w_tilde <- MD(theta_tilde; w_t),     MD(w_tilde; theta_t)"""
_ADAM = """m <- decay_1 m + (1 - decay_1) g;   v <- decay_2 v + (1 - decay_2) g^2
D(g) = -gamma_t m_hat / (sqrt(v_hat) + stability)"""
_RMS = "V <- a V + (1 - a) g^2;   P = 1 / (sqrt(V) + lambda)"

# What each does, in the paper's letters: theta generates, w discriminates, t counts outer steps.
PSEUDO: Mapping[str, str] = {
    "sgd": f"{_MD}\n{_ONE_STEP},   P = 1",
    "rmsprop": f"{_MD}\n{_ONE_STEP}\n{_RMS}",
    "adam": f"{_MD}\nMD(z; v) = z + D(g(z; v))\n{_ADAM}",
    "optimistic_adam": f"{_MD}\nMD(z; v) = z + 2 D_t - D_(t-1),   D_t = D(g(z; v))\n{_ADAM}",
    "extra_adam": (
        "theta_half, w_half <- MD(theta; w), MD(w; theta)\n"
        "theta, w <- theta + D(g(theta_half; w_half)), w + D(g(w_half; theta_half))\n"
        f"MD(z; v) = z + D(g(z; v))\n{_ADAM}"
    ),
    "alt_extra_adam": (
        "w_half     <- w + D(g(w; theta));        w     <- w + D(g(w_half; theta))\n"
        f"theta_half <- theta + D(g(theta; w));    theta <- theta + D(g(theta_half; w))\n{_ADAM}"
    ),
    "past_extra_adam": (
        "theta_half, w_half <- theta + D(g_theta), w + D(g_w)     g of the step before\n"
        "g_theta, g_w       <- fields at (theta_half, w_half)\n"
        f"theta, w           <- theta + D(g_theta), w + D(g_w)\n{_ADAM}"
    ),
    "mirror_gan": f"{_MD}\n{_INNER}\n{_RMS}",
    "mirror_prox_gan": f"{_TWO}\noutput: (theta_T, w_T)\n{_INNER}\n{_RMS}",
    "alt_mirror_gan": (
        f"w     <- MD(w; theta)\ntheta <- MD(theta; w)            the new w\n{_INNER}\n{_RMS}"
    ),
    "alt_mirror_prox_gan": (
        "w_t     <- MD(w_tilde; theta_tilde)\n"
        "theta_t <- MD(theta_tilde; w_t)                the new w\n"
        "theta_tilde, w_tilde <- MD(theta_tilde; w_t), MD(w_tilde; theta_t)\n"
        f"{_INNER}\n{_RMS}"
    ),
    "chambolle_pock": (
        "w     <- MD(w; theta_hat)\n"
        "theta <- MD(theta; w)\n"
        "theta_hat = theta + kappa (theta - theta_old)   as measures: (1 + kappa) and -kappa\n"
        f"{_INNER}\n{_RMS}"
    ),
    "sample_md": (
        "mu_t, nu_t: n' Langevin chains a player, K_t steps each, of the law\n"
        "    exp(-(eta / eps_t) sum over s < t of the loss against sample s of the past)\n"
        "the opponent's past is remembered: all of it, a reservoir of H, or a window"
    ),
    "sample_mp": (
        "mu_t, nu_t             <- chains from the anchors against the past of the intermediates,\n"
        "                          and the anchors' own samples once more\n"
        "mu_tilde, nu_tilde     <- chains from the same anchors against the past and (mu_t, nu_t)\n"
        "output: a sample of the intermediates"
    ),
}

_READS = {
    "step_size": "gamma",
    "step_size_schedule": "of gamma",
    "temperature": "eps",
    "num_inner_steps": "K",
    "damping": "beta",
    "prior_std": "s of mu_1 = N(0, s^2 I); 0: flat",
    "weight_decay": "c",
    "preconditioner": "P",
    "rms_decay": "a",
    "rms_correction": "V / (1 - a^n) in the place of V",
    "stability": "lambda, or Adam's constant",
    "decay_1": "of Adam's first moment",
    "decay_2": "of Adam's second moment",
    "num_chains": "n', samples of each strategy",
    "history": "how the past is kept",
    "history_capacity": "H",
    "history_batch": "b, samples of the past at a step",
    "mirror_step": "eta",
}


def pages() -> dict[Path, str]:
    """All of them, by their paths."""
    return {ROOT / "docs/algorithms" / f"{name}.md": page(name) for name in names.algorithms()}


def page(name: str) -> str:
    """The page of an algorithm."""
    title, source = names.algorithms()[name]
    pieces, keys = pieces_of(name)
    parts = [
        f"# {title}",
        f"`--config.algorithm={name}` · {source}\n\n"
        "<!-- Rendered by `python -m benchmarks.pages`: edit benchmarks/pages/algorithms.py, or "
        "the code that is shown. -->",
        "## In the paper's letters",
        f"```text\n{PSEUDO[name]}\n```",
        "`g(z; v)` is the gradient that z's player descends, on one mini-batch, against v.",
        "## The code that runs",
        *(_shown(p) for p in pieces if _is_open(p)),
        "It is composed of",
        *(
            f'<details markdown="1"><summary>{p.name}, of {p.path}</summary>\n\n'
            f"```python\n{p.text}\n```\n\n</details>"
            for p in pieces
            if not _is_open(p)
        ),
        "## What it needs",
        _needs(name),
        _defaults(name, keys),
        "## How well it is tested",
        _tested(name),
        "## What it did in the study",
        _studied(name),
    ]
    return "\n\n".join(parts) + "\n"


def _is_open(piece: Piece) -> bool:
    """Whether it is read first: the algorithm's own function and its scheme."""
    own = piece.path == FILE and not piece.name.startswith("_")
    return own or Path(piece.path).stem in ("schemes", "sampled")


def _shown(piece: Piece) -> str:
    return f"[{piece.path}](../../{piece.path}):\n\n```python\n{piece.text}\n```"


def overview() -> str:
    """The table of all algorithms, linked from docs/algorithms.md's folder."""
    rows = []
    for name, (title, source) in names.algorithms().items():
        batches, vectors = _costs(name)
        rows.append(
            [
                f"[{title}](algorithms/{name}.md)",
                f"`{name}`",
                source,
                f"{batches}",
                f"{vectors:g}",
                _grade(name),
            ]
        )
    head = ["algorithm", "name", "source", "mini-batches a step", "vectors a player", "tested"]
    return markdown(head, rows)


@functools.cache
def _costs(name: str) -> tuple[int, float]:
    """Mini-batches of an outer step with the tuned defaults, and vectors of state of a player."""
    import tensorflow as tf

    from tf_mixed_nash.algorithms import Hyperparameters, build
    from tf_mixed_nash.methods.schedules import constant, growing_inner_steps
    from tf_mixed_nash.types import Pair

    own, dim = tuned.defaults(name), 8
    K = growing_inner_steps(own["num_inner_steps"], own["inner_steps_rate"])
    # A past of one strategy: what each further one adds is said in words.
    h = Hyperparameters(step_size=constant(own["step_size"]), num_inner_steps=K, history_capacity=1)
    scheme = build(name, Pair(h, h))
    state = scheme.init(tf.zeros([dim]), tf.zeros([dim])).theta
    sizes = (int(tf.size(x)) for x in tf.nest.flatten(state))
    return int(scheme.num_batches(0)), sum(s for s in sizes if s % dim == 0) / dim


def _needs(name: str) -> str:
    batches, vectors = _costs(name)
    chains = name.startswith("sample_")
    of_each = (
        "; `num_chains` and `history_capacity` multiply it: every remembered strategy of a player "
        "is n' vectors"
        if chains
        else "; `num_particles` networks have so much each"
    )
    least = "" if not chains else " (one chain, a past of one)"
    return (
        f"- {_several(batches, 'mini-batch', 'mini-batches')} an outer step with the tuned "
        "defaults, of both players, and as many gradients of each;\n"
        f"- {vectors:g} vectors of the size of a player's parameters{least}, beside the moving "
        f"average and the snapshots{of_each};\n"
        + (
            "- several networks a player by `num_chains`, not by `num_particles`."
            if chains
            else "- one or several networks a player (`generator.num_particles`), any Keras model."
        )
    )


def _several(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _defaults(name: str, keys: set[str]) -> str:
    planar, particles = tuned.defaults(name), tuned.defaults(name, particles=True)
    custom, images = (tuned.defaults(name, kind) for kind in ("custom", "images"))
    rows = [
        [f"`{key}`", meaning, *(_value(d[key]) for d in (planar, custom, particles, images))]
        for key, meaning in _READS.items()
        if key in keys or key.removesuffix("_schedule") in keys
    ]
    head = ["key", "letter", "in the plane", "your own data", "several networks", "on images"]
    return "The keys that it reads, with their tuned defaults:\n\n" + markdown(head, rows)


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _facts(name: str) -> list[tuple[str, str]]:
    """(what, how) of the tests that concern it, read from the tests."""
    facts = []
    if name in _oracles():
        facts.append(
            (
                "transcribed in NumPy",
                "its trajectories equal those of "
                "[a transcription](../../tests/oracles/algorithms.py) that imports nothing of ours",
            )
        )
    facts.append(
        (
            "contract",
            "[the suite of the registry](../../tests/tf_mixed_nash/test_contract.py): draws, "
            "mini-batches, one compilation, no non-finite number that goes unseen",
        )
    )
    facts.append(
        (
            "resumed",
            "[checkpoints](../../tests/trainers/workdir/test_checkpoints.py) bring back every bit",
        )
    )
    if f"plane/{name}" in GOLDEN:
        facts.append(
            ("golden run", "the bytes of a tiny run are [known](../../tests/fingerprints.py)")
        )
    if name in PEERS:
        facts.append(
            (
                "other frameworks",
                "PyTorch and JAX make [the same update](../../tests/benchmarks/test_peers.py)",
            )
        )
    if any(_algorithm_of(flags) == name for flags in CHAOS.values()):
        facts.append(("killed", "at random moments, [again and again](../chaos.md)"))
    if name in STUDIED:
        page = "[the paper's study](../results/study_narrow/README.md)"
        facts.append(("studied", f"{len(_runs_of(name))} runs of {page}"))
    return facts


@functools.cache
def _oracles() -> frozenset[str]:
    """The algorithms that tests/oracles transcribe."""
    from tests.oracles.algorithms import ALGORITHMS as ORACLES

    return frozenset(ORACLES)


def _algorithm_of(flags: Sequence[str]) -> str:
    """The algorithm of a setting of the chaos test; that of its config if no flag names one."""
    given = [f.partition("=")[2] for f in flags if f.startswith("--config.algorithm=")]
    return given[-1] if given else "mirror_prox_gan"


def _runs_of(name: str) -> list[Mapping]:
    return [r for r in paper_study().values() if r["algorithm"] == name]


def _tested(name: str) -> str:
    return markdown(["what", "how"], [[f"**{what}**", how] for what, how in _facts(name)])


def _grade(name: str) -> str:
    """In the manner of OpenSpiel's column: how much stands behind a name."""
    if name in STUDIED:
        return "thoroughly, and studied"
    if name.startswith("sample_"):
        return "exactly; with a past few samples near the modes"
    return "thoroughly; not studied"


def _studied(name: str) -> str:
    if name.startswith("sample_"):
        return (
            "It is not in the study: with a past it had few samples near the modes of the 8 "
            "Gaussians in every setting that was tried ([Algorithms 4 and 5](../sampled.md))."
        )
    if name not in STUDIED:
        return (
            "It is not in the study. `python -m trainers.compare --dataset=gaussians8 "
            f"--algorithms={name},mirror_prox_gan --out=runs/compare` sets it beside another."
        )
    return (
        _answers(name)
        + "\n\nNetworks of 3 x 64 units, 12,000 mini-batches of 64, five seeds, mean ± standard "
        "error; hyperparameters by 30 trials, as many as each of the others had. Beside them and "
        "real data: [the study](../results/study_narrow/README.md)."
    )


def _answers(name: str) -> str:
    """A table of the three answers on the data sets that have been studied."""
    head, rows = ["data, answer"], []
    for data in ("gaussians8", "gaussians25", "swissroll"):
        if any((r["dataset"], r["stage"]) == (data, "final") for r in _runs_of(name)):
            gone = lost(data, "final", name)
            for answer in ("last", "ema", "mixture"):
                head, cells = line_of(data, "final", answer, name)
                rows.append([f"{data}, {answer}{gone}", *cells])
    return markdown(["data, answer", *head], rows)


def check_names() -> None:
    """Raises ValueError if an algorithm has no pseudo-code, or there is one of none."""
    if set(PSEUDO) != set(names.algorithms()):
        raise ValueError(f"PSEUDO and ALGORITHMS differ: {set(PSEUDO) ^ set(names.algorithms())}")
    missing = [n for n in PSEUDO if n not in names_in(FILE)]
    if missing:
        raise ValueError(f"{FILE} has no function {missing[0]}.")
