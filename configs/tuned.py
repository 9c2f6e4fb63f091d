"""Tuned defaults: what `--config.algorithm=NAME` means where a flag says nothing.

Looked up as ANY < TUNED[algorithm] for our data sets of the plane where each player has one
network; else as ANY < STARTS[algorithm] < (where a player has several networks)
PARTICLES[algorithm] < (on images) IMAGES[algorithm]. A flag beats them all.
"""

# The starting point of every algorithm. The linear decay to 0 is offered to all alike.
ANY = {
    "step_size": 5e-4,
    "step_size_schedule": "linear",
    "step_size_rate": 0.0,
    "temperature": 0.0,
    "temperature_schedule": "linear",
    "temperature_rate": 0.0,
    "num_inner_steps": 1,
    "inner_steps_rate": 0.0,
    "inner_steps_schedule": "constant",
    "damping": 0.9,
    "preconditioner": "rms",
    "rms_decay": 0.99,
    "rms_correction": False,
    "prior_std": 0.0,
    "weight_decay": 0.0,
    "stability": 1e-8,
    "decay_1": 0.5,
    "decay_2": 0.9,
    "decay_2_schedule": "constant",
    "num_chains": 1,
    "history": "reservoir",
    "history_capacity": 200,
    "history_batch": 1,
    "mirror_step": 1.0,
    "num_particles": 1,
    "weights": "uniform",
    "weight_step": 1e-2,
    "weight_floor": 0.1,
    "rebirth_below": 0.0,
    "rebirth_noise": 1e-2,
}

# lambda bounds P by 1000: with 1e-8 the noise sqrt(2 gamma eps P) of units that get no
# gradient grows without bound, and the samplers fail (HQ 0.31 against 0.89).
_LANGEVIN = {"step_size": 1e-3, "temperature": 1e-6, "stability": 1e-3}

# From the first sweep on the 8 Gaussians (docs/decisions/0005: one seed, few step sizes): where
# one's own data and models, several networks and images start, and what the check left as it was.
STARTS = {
    "sgd": {"step_size": 1e-3},  # diverges at 1e-2; learns little at 1e-3
    "rmsprop": {"step_size": 1e-3},
    "adam": {"step_size": 2e-3},
    "optimistic_adam": {"step_size": 1e-3},
    "extra_adam": {"step_size": 2e-3},
    "alt_extra_adam": {"step_size": 2e-3},
    "past_extra_adam": {"step_size": 2e-3},
    "mirror_gan": _LANGEVIN,
    "mirror_prox_gan": _LANGEVIN,
    "alt_mirror_gan": {**_LANGEVIN, "step_size": 2e-3},
    "alt_mirror_prox_gan": _LANGEVIN,
    "chambolle_pock": _LANGEVIN,
    # As the paper has them: a past, and inner steps enough to follow it. Few samples
    # come near 8 Gaussians; a window of 1 with K = 1, which forgets, learns (docs/sampled.md).
    "sample_md": {**_LANGEVIN, "num_inner_steps": 10},
    "sample_mp": {**_LANGEVIN, "num_inner_steps": 10},
}

# Of one network of each player on our data sets of the plane: what the sweeps of the study chose,
# where its check takes it, as it was run (docs/results/tuned.md, docs/decisions/0030).
TUNED = {
    **STARTS,
    "rmsprop": {"step_size": 0.00181, "weight_decay": 1e-5, "stability": 1.29e-5},
    "adam": {"step_size": 0.000857},
    "optimistic_adam": {"step_size": 0.00196},
    "extra_adam": {"step_size": 0.00395},
    "past_extra_adam": {"step_size": 0.00551, "weight_decay": 0.0001, "stability": 1.83e-7},
    "mirror_gan": {
        "step_size": 0.00343,
        "temperature": 9.05e-7,
        "damping": 0.598,
        "rms_correction": True,
        "prior_std": 0.3,
        "stability": 3.4e-7,
    },
    "mirror_prox_gan": {"step_size": 0.00328, "temperature": 8.09e-10, "stability": 0.001},
    "alt_mirror_gan": {"step_size": 0.00572, "temperature": 9.04e-6, "stability": 0.001},
    "alt_mirror_prox_gan": {
        "step_size": 0.00841,
        "temperature": 4.26e-10,
        "damping": 0.55,
        "stability": 8.53e-8,
    },
    "chambolle_pock": {
        "step_size": 0.0073,
        "step_size_schedule": "linear(end=0.1, until=0.75)",
        "temperature": 1.23e-9,
        "damping": 0.778,
        "rms_correction": True,
        "prior_std": 0.3,
        "stability": 1.06e-8,
    },
}

# Each of several generators sees a part of the data's gradient, and lambda = 1e-3 would hold back
# its small ones; the noise is then so little that the units without a gradient stay where they are
# (docs/results/particles.md).
_PARTICLES = {"temperature": 1e-9, "stability": 1e-6}
PARTICLES = {
    "mirror_gan": _PARTICLES,
    "mirror_prox_gan": {**_PARTICLES, "step_size": 1.5e-3},
    "alt_mirror_gan": _PARTICLES,
    "alt_mirror_prox_gan": _PARTICLES,
    "chambolle_pock": _PARTICLES,
}

# Starting points on images (DCGAN's own for Adam, Radford et al. 2016).
_ADAM_IMAGES = {"step_size": 2e-4, "decay_2": 0.999}
_LANGEVIN_IMAGES = {"step_size": 1e-3}
IMAGES: dict[str, dict] = {
    "rmsprop": {"step_size": 2e-4},
    "adam": _ADAM_IMAGES,
    "optimistic_adam": _ADAM_IMAGES,
    "extra_adam": _ADAM_IMAGES,
    "alt_extra_adam": _ADAM_IMAGES,
    "past_extra_adam": _ADAM_IMAGES,
    "mirror_gan": _LANGEVIN_IMAGES,
    "mirror_prox_gan": _LANGEVIN_IMAGES,
    "alt_mirror_gan": _LANGEVIN_IMAGES,
    "alt_mirror_prox_gan": _LANGEVIN_IMAGES,
    "chambolle_pock": _LANGEVIN_IMAGES,
}


def defaults(algorithm: str, kind: str = "planar", particles: bool = False) -> dict:
    """The hyperparameters of an algorithm before any flag.

    Args:
      algorithm: its name.
      kind: of the task: planar, images or custom (`trainers.tasks.kinds.kind_of`).
      particles: whether a player has several networks.
    """
    if kind == "planar" and not particles:
        return ANY | TUNED.get(algorithm, {})
    own = STARTS.get(algorithm, {}) | (PARTICLES.get(algorithm, {}) if particles else {})
    return {**ANY, **own, **(IMAGES.get(algorithm, {}) if kind == "images" else {})}
