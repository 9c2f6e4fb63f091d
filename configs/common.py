"""What all experiments share. Every key here is a flag: --config.KEY=VALUE.

A hyperparameter that is None takes the algorithm's tuned default (configs/tuned.py);
`generator.KEY` and `discriminator.KEY` override it for one player.
"""

from __future__ import annotations

from typing import Any

import ml_collections
from ml_collections.config_dict import placeholder

_HYPERPARAMETERS = {
    "step_size": float,  # gamma at t = 0
    # constant, linear, cosine (to 0 at the end), exponential, cyclical, each with options such as
    # cosine(warmup=0.05, end=0.1), cyclical(cycles=8, quiet=0.5), linear(end=0.2, until=0.75) that
    # stays there, a window of constant temperature; or FILE.py:NAME, t -> gamma_t.
    "step_size_schedule": str,
    "step_size_rate": float,  # r of exponential: gamma (1 - r)^t
    "temperature": float,  # epsilon at t = 0; Langevin noise sqrt(2 gamma epsilon P)
    "temperature_schedule": str,
    "temperature_rate": float,
    "num_inner_steps": int,  # K: K_t = min(K, floor((1 + inner_steps_rate)^t)); rate 0: K_t = K
    "inner_steps_rate": float,
    "inner_steps_schedule": str,  # as step_size_schedule, of K rounded to whole numbers, at least 1
    "damping": float,  # beta in (0, 1]
    "preconditioner": str,  # rms (pSGLD) or none (SGLD)
    "rms_decay": float,  # a
    "rms_correction": bool,  # V / (1 - a^n) in the place of V (docs/decisions/0025)
    "prior_std": float,  # s of mu_1 = N(0, s^2 I), weight decay in the law of Langevin; 0: flat
    "weight_decay": float,  # c of the algorithms without a temperature
    "stability": float,  # lambda, or Adam's constant
    "decay_1": float,  # of Adam's first moment
    "decay_2": float,  # of Adam's second moment
    "decay_2_schedule": str,  # as step_size_schedule; end is a fraction of decay_2, 1.1 of 0.9
    # The sampled algorithms, sample_md and sample_mp:
    "num_chains": int,  # n', samples of each strategy
    "history": str,  # full, reservoir (uniform over the past), window (the last ones)
    "history_capacity": int,  # H, how many strategies reservoir and window hold
    "history_batch": int,  # b samples of the opponent's past per Langevin step; 0: all, exactly
    "mirror_step": float,  # eta; the law's temperature is epsilon / eta
    # All others (docs/particles_gan.md):
    "num_particles": int,  # n', networks of the player's mixed strategy; 1: a pure strategy
    "weights": str,  # of these: uniform, or learnt by entropic mirror descent
    "weight_step": float,  # eta of the weights
    "weight_floor": float,  # delta: every weight stays above delta / n'
    "rebirth_below": float,  # lighter ones become copies of the heaviest; 0: none do
    "rebirth_noise": float,  # standard deviation of a copy's parameters around it
}

# Two phases an outer step.
_TWO_PHASES = ("mirror_prox_gan", "alt_mirror_prox_gan", "sample_mp")


def _hyperparameters() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict({k: placeholder(t) for k, t in _HYPERPARAMETERS.items()})


def _experiment(dataset: str, algorithm: str, variant: str | None) -> Any:
    """What experiments of every kind have."""
    if variant not in (None, "", "pure", "tiny"):
        raise ValueError(f"Unknown config variant {variant!r}. Choose 'pure', 'tiny' or none.")
    c = _hyperparameters()
    c.dataset = dataset
    c.algorithm = algorithm
    c.seed = 0
    c.num_batches = 12_000
    c.batch_size = 64
    c.precision = "float32"  # or mixed_bfloat16, mixed_float16, float64
    c.strategy = "default"  # all GPUs of this machine; or mirrored, multi_worker
    # parts: XLA for updates and draws in a plain graph. whole: all of it one XLA program. auto:
    # whole on a GPU, parts on several replicas; on CPUs whole for 30,000 mini-batches or more of
    # small dense networks, else parts (docs/speed.md). The same run either way, but for rounding.
    c.compile = "auto"
    c.accumulate = 1  # parts of a mini-batch that are computed one after the other
    c.discriminator_steps = 1
    # The generator moves against the discriminator that has just moved: of sgd, rmsprop, adam and
    # optimistic_adam. The others are by turns, or not, by their names (alt_mirror_gan, ...).
    c.alternated = False
    c.generator = _hyperparameters()
    c.discriminator = _hyperparameters()
    # How several generators draw from a mini-batch: split, full, thin; latents: own or shared.
    c.particles = ml_collections.ConfigDict({"batch": "split", "latents": "own"})
    c.chambolle_pock = ml_collections.ConfigDict({"kappa": 1.0, "extrapolate": "measure"})
    c.game = ml_collections.ConfigDict(
        {
            "objective": "wgan",  # or FILE.py:NAME, a function (real, fake) -> Losses
            "gradient_penalty": 0.0,
            "r1": 0.0,  # on real data
            "r2": 0.0,  # the same on generated data
            "penalty": "",  # FILE.py:NAME, a function (critic, real, fake, key) -> number
            # On the mini-batches of every n-th outer step, n times as large. n > 1 saves time, no
            # more: R3GAN's authors found that it fails on Stacked MNIST and the 25 Gaussians.
            "penalty_every": 1,
            "penalty_schedule": "constant",  # of a factor over the mini-batches
            "packing": 1,  # data that the discriminator reads at once (PacGAN)
            # Of the images that it reads, such as color,translation,cutout (docs/modern.md).
            "augment": "",
            "augment_probability": 1.0,  # of each, on each image
            "augment_schedule": "constant",  # of a factor on it over the mini-batches
            "augment_target": 0.0,  # it follows the mean sign of D(real), such as 0.6 (ADA); 0: no
            "augment_speed": 500_000,  # samples in which it can then go from 0 to 1
            "weight_clip": 0.0,
        }
    )
    # M snapshots, each uniform over this window of the run: the paper's random t-hat.
    # `when` low_points: of these only the ends of the cycles of the generator's step size.
    c.mixture = ml_collections.ConfigDict(
        {"num_components": 30, "window": (0.75, 1.0), "when": "random"}
    )
    c.ema_decay = 0.999  # per mini-batch
    # Of further averages, in samples: (10000, 500000) makes the answers ema_10000 and ema_500000.
    c.ema_half_lives = ()
    c.ema_schedule = "constant"  # of a factor on all half-lives, such as constant(warmup=0.1)
    c.publish = "mixture"  # or last, ema, ema_N
    # False: the run ends with its scorecard, without a SavedModel, which `export.saved_model` makes
    # of its workdir later.
    c.export = True
    # Duality gap by K-step best responses of Adam on held-out data: every so many mini-batches,
    # 0 is off. Adds to what is written, not to what is trained. regularized: of the game with its
    # penalties, whose gap has a finite target; a WGAN's payoff alone grows with the critic.
    c.duality_gap = ml_collections.ConfigDict(
        {
            "every": 0,
            "num_steps": 100,
            "step_size": 1e-4,
            "num_samples": 4_096,
            "regularized": True,
        }
    )
    # Scores of the strategies in metrics.jsonl, every so many mini-batches, 0 is off. Adds to what
    # is written as well.
    c.score_every = 0
    c.score_samples = placeholder(int)  # of how many samples; by default 2,500 or the scorecard's
    # The health monitor (docs/diagnosis.md): looks every so many mini-batches, by default 20 times
    # in a run; 0 is off. Adds to what is written alone.
    c.health_every = placeholder(int)
    c.data = ml_collections.ConfigDict(
        {
            "path": placeholder(str),  # LMDB directory, folder of images, .npy or .npz
            "tfds_dir": placeholder(str),  # where TFDS data sets are prepared
        }
    )
    # A warm start (docs/modern.md): a workdir, a published model or a .keras file whose weights the
    # networks begin with, where they fit. A run that has begun goes on without it.
    c.init_from = ""
    c.init_players = ""  # generator, discriminator or both; "": whichever are there
    c.init_answer = "last"  # of a workdir, which the generators are; or ema, mixture, ema_N
    c.log_every = 100
    c.picture_every = 3_000  # mini-batches; 0: at the end alone
    c.film = False  # samples/film.gif: last iterate and mixture side by side over the run
    c.checkpoint_every = 3_000
    c.keep_last = 3  # checkpoints
    c.keep_every = 0  # and the first at or after each multiple of so many mini-batches; 0: none
    c.keep_best = ""  # and the best by a metric: min:KEY or max:KEY of metrics.jsonl
    # A field or parameter that is not finite: stop (exit code 3), or rollback to the last
    # checkpoint with half the step sizes and other noise, at most max_rollbacks times.
    c.on_divergence = "stop"
    c.max_rollbacks = 3
    if variant == "tiny":
        c.num_batches = 4 if algorithm in _TWO_PHASES else 2
        c.batch_size = 16
        c.mixture.num_components = 2
        c.mixture.window = (0.0, 1.0)
        c.duality_gap.num_steps, c.duality_gap.num_samples = 3, 128
        c.log_every = c.picture_every = c.checkpoint_every = 2
    return c


# What differs between the data sets of the plane. At batch 64 the gradients' noise blurs the 25
# Gaussians (docs/results/gaussians25.md).
_GRID = {"batch_size": 256, "num_batches": 20_000}
_PLANAR = {"gaussians25": _GRID, "gaussians25_unbalanced": _GRID}


def planar(
    dataset: str, algorithm: str, variant: str | None = None, particles: tuple[int, int] = (1, 512)
) -> ml_collections.ConfigDict:
    """An experiment in the plane: the paper's MLPs (3 x 512 ReLU), WGAN with penalty 0.1.

    Args:
      dataset: gaussians8, gaussians25, gaussians25_unbalanced or swissroll.
      algorithm: a key of `tf_mixed_nash.algorithms.ALGORITHMS`.
      variant: None; "pure": one generator, as the paper's section 4.2 has it; or "tiny": that, in
        two outer steps of small networks, in seconds.
      particles: n', the generators, and the width of their layers.

    Raises:
      ValueError: for an unknown variant.
    """
    c = _experiment(dataset, algorithm, variant)
    c.game.gradient_penalty = 0.1
    c.model = ml_collections.ConfigDict(
        {
            "hidden_units": (512, 512, 512),
            "generator_hidden_units": (),  # (): hidden_units
            "discriminator_hidden_units": (),
            "activation": "relu",
            # Of the discriminator: sines and cosines of its input at so many frequencies, from 1 to
            # the highest, beside the input itself (docs/modern.md).
            "fourier_features": 0,
            "fourier_highest": 80.0,
            # Of a generator: a factor on its last layer's initial weights, and the standard
            # deviation of its initial biases there: how large it begins, and how far away.
            "start_scale": 1.0,
            "start_spread": 0.0,
            "latent_dim": 2,
            "generator": "",  # FILE.py:NAME, a Keras model or a function that makes one
            "discriminator": "",
        }
    )
    # The fraction of the rows of dataset=vectors that scores compare with; by default 0.1.
    c.data.held_out = placeholder(float)
    c.scorecard = ml_collections.ConfigDict({"num_samples": 10_000, "capture_samples": 2_500})
    if variant == "tiny":
        c.model.hidden_units = (16, 16)
        c.scorecard.num_samples = 500
        c.scorecard.capture_samples = 250
    else:
        c.update(_PLANAR.get(dataset, {}))
        if not variant and particles[0] > 1:
            c.generator.num_particles = particles[0]
            c.model.generator_hidden_units = 3 * (particles[1],)
    c.lock()
    return c


def blobs(c: Any) -> None:
    """Changes a planar experiment of several generators to what finds modes of the right width.

    Small generators begin as small blobs in as many places, each of which falls into a mode whole.
    The critic reads Fourier features of the data, without which it does not see a width of a
    hundredth of the distance between modes, and its penalty is zero-centred (R1 + R2): one that
    asks for |grad D| = 1 makes every mode narrow. How they were chosen, and what else was tried:
    docs/results/best_default.md.
    """
    c.particles.batch = "thin"
    c.mixture.window = (0.87, 1.0)
    c.step_size_schedule = "cosine(end=0.002)"
    c.game.gradient_penalty = 0.0
    c.game.r1 = c.game.r2 = 0.1
    c.model.discriminator_hidden_units = (128, 128)
    c.model.fourier_features = 48
    c.model.start_scale, c.model.start_spread = 0.1, 1.0


def custom(algorithm: str, variant: str | None = None) -> ml_collections.ConfigDict:
    """A game of networks and data of a Python program (`tf_mixed_nash.MixedNashGAN`).

    Args:
      algorithm: a key of `tf_mixed_nash.algorithms.ALGORITHMS`.
      variant: None, or "tiny": two outer steps, in seconds.

    Raises:
      ValueError: for an unknown variant.
    """
    c = _experiment("python", algorithm, variant)
    c.model = ml_collections.ConfigDict({"latent_dim": 2, "num_classes": 0})
    c.scorecard = ml_collections.ConfigDict({"num_samples": 2_000, "nearest_k": 5})
    return c


# What differs between the image data sets: pixels, channels, classes, the width of DCGAN's largest
# maps, snapshots (each costs the bytes of both networks) and mini-batches.
_DIGITS = {"size": 32, "channels": 1, "num_classes": 10, "width": 32, "num_batches": 10_000}
_IMAGES = {
    "mnist": _DIGITS,
    "fashion_mnist": _DIGITS,
    "cifar10": {**_DIGITS, "channels": 3},
    "stacked_mnist": {
        **_DIGITS,
        "size": 28,
        "channels": 3,
        "num_classes": 0,
        "width": 64,
        "num_batches": 100_000,
        "num_samples": 26_000,
    },
    "lsun": {"size": 64, "channels": 3, "num_classes": 0, "width": 64, "num_batches": 100_000},
}
_NUM_COMPONENTS = {"lsun": 10}  # 254 MB of snapshots


def images(dataset: str, algorithm: str, variant: str | None = None) -> ml_collections.ConfigDict:
    """An experiment on images: DCGAN with batch normalisation, non-saturating loss.

    Args:
      dataset: mnist, fashion_mnist, cifar10, stacked_mnist or lsun. Its keys are flags, `dataset`
        among them: any TFDS image data set, or "folder", which like "lsun" takes data.path.
      algorithm: a key of `tf_mixed_nash.algorithms.ALGORITHMS`.
      variant: None or "pure": one generator; or "tiny": two outer steps of small networks, in
        seconds.

    Raises:
      ValueError: for an unknown variant.
    """
    facts = _IMAGES[dataset]
    c = _experiment(dataset, algorithm, variant)
    c.num_batches = facts["num_batches"] if variant != "tiny" else c.num_batches
    c.game.objective = "nonsaturating"
    c.image = ml_collections.ConfigDict(
        {
            "size": facts["size"],  # of the centre square, resized with antialiasing
            "channels": facts["channels"],
            "flip": False,  # left-right, with probability 1/2
            "held_out": 0.0,  # fraction of the records for the monitor of the gap, never trained on
            "num_classes": facts["num_classes"],  # of the labels, for model.conditional
        }
    )
    c.model = ml_collections.ConfigDict(
        {
            # dcgan; residual, without normalisation (R3GAN's manner); wgan_gp, residual
            "family": "dcgan",
            "blocks": 1,  # of family residual, at each resolution
            "width": facts["width"],
            "discriminator_width": 0,  # 0: width
            "latent_dim": 100,
            "generator_normalization": "batch",  # of family dcgan; or layer, none
            "discriminator_normalization": "batch",  # or layer, spectral (with penalties), none
            "conditional": False,  # generate by class; needs labels
            "generator": "",  # FILE.py:NAME, a Keras model or a function that makes one
            "discriminator": "",
        }
    )
    c.mixture.num_components = _NUM_COMPONENTS.get(dataset, c.mixture.num_components)
    c.data.update(
        {
            "split": "train",
            "download": False,  # let TFDS fetch and prepare what is not there
            "max_corrupt": 100,  # unreadable records that are skipped before it is an error
            "cache": placeholder(bool),  # decode all into memory; by default up to 1 GiB
            "num_threads": 4,  # that decode
        }
    )
    if dataset == "stacked_mnist":
        c.data.num_stacks = 128_000 if variant != "tiny" else 256
    c.scorecard = ml_collections.ConfigDict(
        {
            # What scores compare with, where it is not the training's: a split of the TFDS data set
            # (of few images trained on, the others), or a path as data.path.
            "split": "",
            "path": "",
            "features": "auto",  # a committed network, FILE.npz, FILE.keras[:LAYER], inception:FILE
            "num_samples": facts.get("num_samples", 10_000),
            "prdc_samples": 5_000,
            "nearest_k": 5,
            "kid_subsets": 50,
            "kid_subset_size": 1_000,
        }
    )
    if variant == "tiny":
        c.model.width = 8
        c.mixture.num_components = 2
        c.scorecard.num_samples = c.scorecard.prdc_samples = 64
        c.scorecard.kid_subsets, c.scorecard.kid_subset_size = 5, 32
    c.lock()
    return c


def residual(dataset: str, gamma: float, variant: str | None = None) -> Any:
    """An experiment on images in R3GAN's manner (Huang et al. 2024), by Adam.

    Args:
      dataset: see `images`.
      gamma: the weight of R1 and of R2 at the beginning.
      variant: see `images`.

    Raises:
      ValueError: for an unknown variant.
    """
    c: Any = images(dataset, "adam", variant)
    c.model.family = "residual"
    c.game.objective = "relativistic"
    c.game.r1 = c.game.r2 = gamma
    c.game.penalty_schedule = "cosine(end=0.1)"
    c.step_size, c.step_size_schedule = 2e-4, "cosine(end=0.25)"
    c.decay_1 = 0.0
    c.decay_2, c.decay_2_schedule = 0.9, "cosine(end=1.1)"  # to 0.99
    return c
