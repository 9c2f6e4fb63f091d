"""Every named algorithm as sampler + prox step + scheme. The first page to read.

    sampler  how a stochastic gradient moves a point         methods/samplers.py
    prox     a mirror-descent step MD(anchor; opponent)      methods/prox.py
    scheme   which steps, from which anchor, against whom    methods/schemes.py, methods/sampled.py

To change an algorithm, change one of its three parts; to add one, add a function and a
line to ALGORITHMS.

    >>> ALGORITHMS["mirror_gan"].title
    'Mirror-GAN'
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from tf_mixed_nash.errors import InputError, unknown
from tf_mixed_nash.methods import histories, measures, sampled, samplers, schemes
from tf_mixed_nash.methods.measures import Rebirth, Weigh
from tf_mixed_nash.methods.prox import Prox, langevin_atoms, langevin_mean, one_step
from tf_mixed_nash.methods.samplers import Preconditioner, Sampler
from tf_mixed_nash.methods.schedules import Schedule, constant
from tf_mixed_nash.methods.schemes import Scheme
from tf_mixed_nash.types import Pair

__all__ = ["ALGORITHMS", "ALTERNATING", "Algorithm", "Hyperparameters", "build", "unread"]


@dataclasses.dataclass(frozen=True)
class Hyperparameters:
    """One player's hyperparameters. Each algorithm reads those that concern it.

    Attributes:
      step_size: t -> gamma_t >= 0.
      temperature: t -> eps_t >= 0 (Langevin algorithms).
      num_inner_steps: t -> K_t >= 1 (Mirror algorithms).
      damping: beta in (0, 1] (Mirror algorithms).
      preconditioner: "rms" (pSGLD) or "none" (SGLD), for the Mirror algorithms.
      rms_decay: a of the RMSProp preconditioner.
      rms_correction: whether V is corrected for its start at 0, V / (1 - a^n), as Adam's is
        (docs/decisions/0025).
      stability: lambda of the RMSProp preconditioner, or Adam's constant.
      prior_std: s of the initial measure mu_1 = N(0, s^2 I) of the Langevin algorithms, weight
        decay eps_t / s^2 in the law; 0: flat.
      weight_decay: c >= 0 of the algorithms that have no temperature.
      decay_1: of Adam's first moment.
      decay_2: of Adam's second moment, or a schedule t -> it.
      num_chains: n' >= 1, samples of each strategy (the sampled algorithms, and so below).
      history: "full" (the capacity must hold the run), "reservoir" or "window".
      history_capacity: H >= 1, how many of the player's own strategies are remembered.
      history_batch: b >= 1, how many samples of the opponent's past each Langevin step plays
        against; 0: all of them, the exact sum.
      mirror_step: eta > 0.
      num_particles: n' >= 1, atoms of the player's mixed strategy (all but the sampled algorithms,
        whose num_chains it is). 1: a pure strategy, the algorithm of the literature.
      weights: "uniform", or "learnt" by entropic mirror descent (and so below).
      weight_step: t -> eta_t >= 0, of the weights.
      weight_floor: delta in [0, 1); every atom keeps delta / n'.
      rebirth_below: atoms of less weight become copies of the heaviest; 0: none do.
      rebirth_noise: standard deviation of a copy's parameters around the heaviest's.
    """

    step_size: Schedule = constant(1e-4)
    temperature: Schedule = constant(0.0)
    num_inner_steps: Schedule = constant(1)
    damping: float = 0.9
    preconditioner: str = "rms"
    rms_decay: float = 0.99
    rms_correction: bool = False
    stability: float = 1e-8
    prior_std: float = 0.0
    weight_decay: float = 0.0
    decay_1: float = 0.5
    decay_2: float | Schedule = 0.9
    num_chains: int = 1
    history: str = "reservoir"
    history_capacity: int = 200
    history_batch: int = 1
    mirror_step: float = 1.0
    num_particles: int = 1
    weights: str = "uniform"
    weight_step: Schedule = constant(1e-2)
    weight_floor: float = 0.1
    rebirth_below: float = 0.0
    rebirth_noise: float = 1e-2

    def __post_init__(self):
        if self.preconditioner not in ("rms", "none"):
            raise unknown("preconditioner", self.preconditioner, ("rms", "none"))
        for name in ("prior_std", "weight_decay"):
            if not getattr(self, name) >= 0.0:
                raise InputError(f"{name} must be at least 0, got {getattr(self, name)}.")
        if self.num_particles < 1:
            raise InputError(f"num_particles (n') must be at least 1, got {self.num_particles}.")
        if self.weights not in ("uniform", "learnt"):
            raise unknown("weights", self.weights, ("uniform", "learnt"))
        if not 0.0 <= self.weight_floor < 1.0:
            raise InputError(f"weight_floor (delta) must be in [0, 1), got {self.weight_floor}.")
        if not self.rebirth_noise >= 0.0:
            raise InputError(f"rebirth_noise must be at least 0, got {self.rebirth_noise}.")
        least, equal = self.weight_floor / self.num_particles, 1.0 / self.num_particles
        if self.rebirth_below and not least < self.rebirth_below < equal:
            raise InputError(
                f"rebirth_below must be 0 (no rebirth) or lie between the least weight that the "
                f"floor leaves, {least:g}, and the equal one, {equal:g}; got {self.rebirth_below}."
            )


def _rms(h: Hyperparameters) -> Preconditioner:
    return samplers.rms(h.rms_decay, h.stability, correction=h.rms_correction)


def _sgd(h: Hyperparameters) -> Sampler:
    none = constant(0.0)
    return samplers.langevin(h.step_size, none, samplers.identity(), weight_decay=h.weight_decay)


def _rmsprop(h: Hyperparameters) -> Sampler:
    return samplers.langevin(h.step_size, constant(0.0), _rms(h), weight_decay=h.weight_decay)


def _adam(h: Hyperparameters) -> Sampler:
    return samplers.adam(
        h.step_size, h.decay_1, h.decay_2, h.stability, weight_decay=h.weight_decay
    )


def _reference_adam(h: Hyperparameters) -> Sampler:
    """With the conventions of Gidel et al.'s public code."""
    return samplers.adam(h.step_size, h.decay_1, h.decay_2, h.stability, True, h.weight_decay)


def _langevin(h: Hyperparameters) -> Sampler:
    preconditioner = _rms(h) if h.preconditioner == "rms" else samplers.identity()
    return samplers.langevin(h.step_size, h.temperature, preconditioner, h.prior_std)


def _langevin_mean(h: Hyperparameters) -> Prox:
    return langevin_mean(_langevin(h), h.num_inner_steps, h.damping)


def _langevin_atoms(h: Hyperparameters) -> Prox:
    play = histories.subsampled(h.history_batch) if h.history_batch else histories.exact()
    return langevin_atoms(_langevin(h), h.num_inner_steps, play, h.mirror_step)


def _memory(h: Hyperparameters) -> histories.Memory:
    return histories.make_memory(h.history, h.history_capacity)


def _weigh(h: Hyperparameters) -> Weigh:
    if h.weights == "uniform":
        return measures.constant
    return measures.entropic(h.weight_step, h.weight_floor)


def _rebirth(h: Hyperparameters) -> Rebirth | None:
    learnt = h.num_particles > 1 and h.weights == "learnt"
    return Rebirth(h.rebirth_below, h.rebirth_noise) if learnt and h.rebirth_below else None


def _both(make: Callable, h: Pair[Hyperparameters]) -> Pair:
    """What `make` makes of each player's; a prox step is of every atom where there are several."""

    def of(h: Hyperparameters):
        made = make(h)
        several = h.num_particles > 1 and isinstance(made, Prox)
        return measures.each_atom(made, _weigh(h)) if several else made

    return Pair(of(h.theta), of(h.w))


def sgd(h, alternated: bool = False):
    return schemes.mirror_descent(_both(lambda h: one_step(_sgd(h)), h), alternated)


def rmsprop(h, alternated: bool = False):
    return schemes.mirror_descent(_both(lambda h: one_step(_rmsprop(h)), h), alternated)


def adam(h, alternated: bool = False):
    return schemes.mirror_descent(_both(lambda h: one_step(_adam(h)), h), alternated)


def optimistic_adam(h, alternated: bool = False):
    return schemes.mirror_descent(
        _both(lambda h: one_step(samplers.optimistic(_reference_adam(h))), h), alternated
    )


def extra_adam(h):
    scheme = schemes.mirror_prox(_both(lambda h: one_step(_reference_adam(h)), h))
    # Extragradient's iterate is the updated anchor, not the lookahead.
    return scheme._replace(output=lambda s: Pair(s.theta.tilde, s.w.tilde))


def alt_extra_adam(h):
    return schemes.alternated_extragradient(_both(lambda h: one_step(_reference_adam(h)), h))


def past_extra_adam(h):
    return schemes.past_extragradient(_both(_reference_adam, h), _both(_weigh, h))


def mirror_gan(h):
    return schemes.mirror_descent(_both(_langevin_mean, h))


def mirror_prox_gan(h):
    return schemes.mirror_prox(_both(_langevin_mean, h))


def alt_mirror_gan(h):
    return schemes.mirror_descent(_both(_langevin_mean, h), alternated=True)


def alt_mirror_prox_gan(h):
    return schemes.mirror_prox(_both(_langevin_mean, h), alternated=True)


def chambolle_pock(h, kappa: float = 1.0, extrapolate: str = "measure"):
    return schemes.chambolle_pock(_both(_langevin_mean, h), kappa, extrapolate)


def sample_md(h):
    num_chains = Pair(h.theta.num_chains, h.w.num_chains)
    return sampled.sample_md(_both(_langevin_atoms, h), _both(_memory, h), num_chains)


def sample_mp(h):
    num_chains = Pair(h.theta.num_chains, h.w.num_chains)
    return sampled.sample_mp(_both(_langevin_atoms, h), _both(_memory, h), num_chains)


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """An entry of the registry.

    Attributes:
      title: for tables and figures.
      source: where it comes from. [P] printed in the paper, [D] derived from it, [C] from
        another paper or public code.
      scheme: Pair of Hyperparameters -> Scheme.
      reads: the hyperparameters that it reads, beside those of several particles.
      langevin: whether it samples (reads temperature and num_inner_steps).
      chains: whether a player is several chains, [n', d] (reads num_chains and the history).

    Example:
      >>> [name for name, algorithm in ALGORITHMS.items() if algorithm.chains]
      ['sample_md', 'sample_mp']
    """

    title: str
    source: str
    scheme: Callable[..., Scheme]
    reads: tuple[str, ...]
    langevin: bool = False
    chains: bool = False

    @property
    def inner_average(self) -> bool:
        """Whether a step's inner chain has an average, theta_bar."""
        return self.langevin and not self.chains


_SGD = ("step_size", "weight_decay")
_RMSPROP = (*_SGD, "rms_decay", "rms_correction", "stability")
_ADAMS = (*_SGD, "decay_1", "decay_2", "stability")
_SAMPLER = (
    *("step_size", "temperature", "num_inner_steps", "preconditioner", "rms_decay"),
    *("rms_correction", "stability", "prior_std"),
)
_MIRROR = (*_SAMPLER, "damping")
_SAMPLED = (*_SAMPLER, "num_chains", "mirror_step", "history", "history_capacity", "history_batch")

ALGORITHMS: dict[str, Algorithm] = {
    "sgd": Algorithm("SGD", "simultaneous gradient descent-ascent", sgd, _SGD),
    "rmsprop": Algorithm("RMSProp", "Tieleman & Hinton 2012", rmsprop, _RMSPROP),
    "adam": Algorithm("Adam", "[C] Kingma & Ba 2015", adam, _ADAMS),
    "optimistic_adam": Algorithm(
        "Optimistic Adam", "[C] Daskalakis et al. 2018", optimistic_adam, _ADAMS
    ),
    "extra_adam": Algorithm(
        "Extra-Adam", "[C] Gidel et al. 2019, simultaneous", extra_adam, _ADAMS
    ),
    "alt_extra_adam": Algorithm(
        "Alternated Extra-Adam", "[C] Gidel et al. 2019, alternated", alt_extra_adam, _ADAMS
    ),
    "past_extra_adam": Algorithm(
        "Past Extra-Adam",
        "[C] Gidel et al. 2019, extrapolation from the past",
        past_extra_adam,
        _ADAMS,
    ),
    "mirror_gan": Algorithm("Mirror-GAN", "[P] Algorithm 3", mirror_gan, _MIRROR, langevin=True),
    "mirror_prox_gan": Algorithm(
        "Mirror-Prox-GAN", "[D] Algorithms 2 and 3", mirror_prox_gan, _MIRROR, langevin=True
    ),
    "alt_mirror_gan": Algorithm(
        "Alternated Mirror-GAN",
        "[D] Algorithm 3, section 6",
        alt_mirror_gan,
        _MIRROR,
        langevin=True,
    ),
    "alt_mirror_prox_gan": Algorithm(
        "Alternated Mirror-Prox-GAN", "[D] section 6", alt_mirror_prox_gan, _MIRROR, langevin=True
    ),
    "chambolle_pock": Algorithm(
        "Chambolle-Pock",
        "[D] section 6; Chambolle & Pock 2011",
        chambolle_pock,
        _MIRROR,
        langevin=True,
    ),
    "sample_md": Algorithm(
        "Sampled MD",
        '[P] section 4.1, "Algorithm 4" [D]',
        sample_md,
        _SAMPLED,
        langevin=True,
        chains=True,
    ),
    "sample_mp": Algorithm(
        "Sampled Mirror-Prox",
        '[P] section 4.1, "Algorithm 5" [D]',
        sample_mp,
        _SAMPLED,
        langevin=True,
        chains=True,
    ),
}


# Whose players may move by turns, the discriminator first: the option `alternated`.
ALTERNATING = ("sgd", "rmsprop", "adam", "optimistic_adam")


# Hyperparameters of several particles, which every algorithm reads that may have them.
_OF_PARTICLES = ("weights", "weight_step", "weight_floor", "rebirth_below", "rebirth_noise")
# What configs have beside a hyperparameter: its schedule, and of K_t its growth.
_BASES = {"inner_steps_rate": "num_inner_steps", "inner_steps_schedule": "num_inner_steps"}


def unread(name: str, key: str, several: bool) -> str:
    """Why a hyperparameter would have no effect; "" where it has one, or is none.

    Args:
      name: a key of ALGORITHMS.
      key: a field of `Hyperparameters`, or what a config calls its schedule.
      several: whether a player has several particles.

    Returns:
      The end of a sentence, without a full stop.
    """
    base = _BASES.get(key) or re.sub("_(schedule|rate)$", "", key)
    if base not in Hyperparameters.__dataclass_fields__ or base == "num_particles":
        return ""
    if base in _OF_PARTICLES:
        return "" if several else "it is of several particles, and there is one: set num_particles"
    if base in (reads := ALGORITHMS[name].reads):
        return ""
    others = ", ".join(n for n, a in ALGORITHMS.items() if base in a.reads)
    return f"{name} does not read it; {others} do. Its own are {', '.join(reads)}"


def build(
    name: str, hyperparameters: Pair[Hyperparameters], discriminator_steps: int = 1, **options
) -> Scheme:
    """The algorithm called `name`.

    Args:
      name: a key of ALGORITHMS.
      hyperparameters: of each player.
      discriminator_steps: outer steps of the discriminator per one of the generator.
      **options: of the algorithm (`kappa` and `extrapolate` of chambolle_pock, `alternated` of
        ALTERNATING).

    Returns:
      The scheme; of points [d] where num_particles is 1, else of measures (see `Scheme`).

    Raises:
      ValueError: for an unknown name or a hyperparameter out of range (InputError is one).
    """
    if name not in ALGORITHMS:
        raise unknown("algorithm", name, ALGORITHMS)
    num_particles = Pair(*(h.num_particles for h in hyperparameters))
    if ALGORITHMS[name].chains and max(num_particles) > 1:
        raise InputError(
            f"{name} keeps samples of every past strategy, num_chains of each; num_particles is of "
            f"the other algorithms. Set num_chains={max(num_particles)} and num_particles=1."
        )
    scheme = ALGORITHMS[name].scheme(hyperparameters, **options)
    scheme = schemes.discriminator_steps(scheme, discriminator_steps)
    if max(num_particles) == 1:
        return scheme
    rebirth = Pair(*(_rebirth(h) for h in hyperparameters))
    if any(rebirth):
        scheme = schemes.reborn(scheme, rebirth)
    return schemes.of_measures(scheme, num_particles)
