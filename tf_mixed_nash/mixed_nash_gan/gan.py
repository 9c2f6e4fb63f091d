"""`MixedNashGAN`: Keras's verbs on our loop."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from export.strategy import InWholeGroups, publish_strategy
from tf_mixed_nash.algorithms import ALGORITHMS
from tf_mixed_nash.errors import InputError, unknown
from tf_mixed_nash.games import augmentation
from tf_mixed_nash.games.gan import Penalty, check_penalty
from tf_mixed_nash.games.objectives import OBJECTIVES, Objective, check_objective
from tf_mixed_nash.latents import LatentLaw
from tf_mixed_nash.mixed_nash_gan import fitting, saving
from tf_mixed_nash.mixed_nash_gan.arguments import answered, as_path, integer, several
from tf_mixed_nash.mixed_nash_gan.configuration import PLAYERS, Configuration, models_of
from tf_mixed_nash.mixed_nash_gan.epochs import Epochs, checked
from tf_mixed_nash.strategies.mixed import MixedStrategy, seed_rows
from tf_mixed_nash.training.loop import Loop
from tf_mixed_nash.types import Measure, Pair
from trainers.answers import reading
from trainers.experiment import settings
from trainers.experiment.build import PYTHON, Run, build
from trainers.session.train import check
from trainers.tasks import user_models, vector_scores
from trainers.tasks.base import SEED
from trainers.tasks.data import user_data
from trainers.workdir import folder

__all__ = ["MixedNashGAN"]

_CALIBRATION = 16  # mini-batches
_EVALUATED = 1_000  # rows of data that have no end


class MixedNashGAN:
    """A GAN of two Keras models, trained toward a mixed Nash equilibrium, with Keras's verbs.

        from tf_mixed_nash import MixedNashGAN

        gan = MixedNashGAN(generator, discriminator, objective="wgan", gradient_penalty=10.0)
        gan.compile(step_size=1e-3, discriminator={"step_size": 2e-3}, seed=0)
        history = gan.fit(data, batch_size=64, num_batches=20_000, workdir="runs/mine")
        samples = gan.sample(64, seed=0)             # of the mixture: float32 [64, ...]
        gan.generator("ema").save("generator.keras")
        gan.publish("models/mine")

    The answer of a training is a distribution over generators, the *mixture* of snapshots of the
    run (Hsieh, Liu & Cevher 2019); beside it there are the *last* iterate and its moving average,
    *ema*. With `num_particles` above 1 each of the three is itself a mixture of so many networks.

    The models give architecture and initial weights; they are never written. A `fit` is one whole
    run from these weights, a function of models, data and seed: one that was stopped goes on when
    the same call is made again in the same workdir, and a finished one stays as it is. To train on
    from there, make another MixedNashGAN of `gan.generator("last")` and `gan.discriminator()`.

    Which answer is best is what `evaluate` says. A short run's mixture has snapshots of an early
    time, and its moving average still some of the start: 0.999^m after m mini-batches.

    Args:
      generator: from latents [n, D] to samples [n, ...]: a built keras.Model, or a function without
        arguments that makes one (then initial weights are a function of the seed, too).
      discriminator: from samples [n, ...] to logits [n, 1], without a sigmoid; the same.
      algorithm: a name of `tf_mixed_nash.ALGORITHMS`: "mirror_gan", "mirror_prox_gan", "adam",
        "extra_adam", ...
      objective: "wgan", "minimax", "nonsaturating", "least_squares", "hinge", "relativistic",
        "relativistic_hinge" or "relativistic_least_squares"; or a function (real logits, fake
        logits) -> `tf_mixed_nash.games.objectives.Losses` of two scalars.
      latent_dim: D >= 1; by default what the generator reads.
      latents: their law; by default N(0, I). A `tfp.distributions.Distribution` of event shape [D],
        or a function (key int32[2], n) -> [n, D] of TensorFlow's stateless draws.
      num_classes: k >= 2 for a class-conditional game: the data come with labels in [0, k), the
        generator reads [n, D + k] (latents, one-hot class) and the discriminator samples whose last
        axis is followed by k constant channels, the one-hot class. 0: without classes.
      gradient_penalty: >= 0, the weight of E (|grad_x f(x)| - 1)^2 (WGAN-GP).
      r1: >= 0, the weight of E |grad_x f(x)|^2 / 2 on real data.
      r2: >= 0, the same on generated data.
      penalty: of your own, a function (critic, real, fake, key) -> one number, added to the
        discriminator's loss: critic maps data to logits, key is int32[2].
      penalty_every: n >= 1; the penalties are on the mini-batches of every n-th outer step, n times
        as large. n > 1 saves time, no more: R3GAN's authors found that it fails on Stacked MNIST
        and the 25 Gaussians.
      penalty_schedule: of a factor on them over the mini-batches, such as "cosine(end=0.1)"
        (docs/modern.md).
      packing: m >= 1 data that the discriminator reads at once, side by side in the last axis
        (PacGAN).
      augment: of the images that the discriminator reads, such as "color,translation,cutout"
        (docs/modern.md); "": none.
      augment_probability: in (0, 1], with which each is done to each image.
      augment_schedule: of a factor on it over the mini-batches, such as "linear(end=0.5)".
      augment_target: in (0, 1): the probability follows the mean sign of D(real), as in ADA, up to
        `augment_probability`; 0: it does not.
      augment_speed: samples in which it can then go from 0 to 1.
      weight_clip: > 0 clips the discriminator's weights to [-c, c]; 0 does not.
      num_particles: n' >= 1, networks of the mixed strategy of each player (docs/particles_gan.md);
        of one player alone, compile(generator={"num_particles": 4}).

    Raises:
      InputError: for models that do not fit each other or cannot be played with, or an unknown
        algorithm or objective; one sentence that says what to do.

    Example:
      >>> generator = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
      >>> discriminator = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
      >>> gan = MixedNashGAN(generator, discriminator, algorithm="adam")
      >>> gan.compile(step_size=1e-3, seed=1)
      >>> points = np.random.default_rng(0).normal(size=(100, 2))
      >>> history = gan.fit(points, batch_size=16, num_batches=4, steps_per_epoch=2, verbose=0)
      >>> history.history["step"]
      [2, 4]
      >>> gan.sample(5, seed=3).shape
      (5, 2)
    """

    @answered
    def __init__(
        self,
        generator: keras.Model | Callable[[], keras.Model],
        discriminator: keras.Model | Callable[[], keras.Model],
        *,
        algorithm: str = "mirror_prox_gan",
        objective: str | Objective = "wgan",
        latent_dim: int | None = None,
        latents: Any = None,
        num_classes: int = 0,
        gradient_penalty: float = 0.0,
        r1: float = 0.0,
        r2: float = 0.0,
        penalty: Penalty | None = None,
        penalty_every: int = 1,
        penalty_schedule: str = "constant",
        packing: int = 1,
        augment: str = "",
        augment_probability: float = 1.0,
        augment_schedule: str = "constant",
        augment_target: float = 0.0,
        augment_speed: int = 500_000,
        weight_clip: float = 0.0,
        num_particles: int = 1,
    ):
        if not isinstance(algorithm, str):
            raise InputError(
                'algorithm must be a name of tf_mixed_nash.ALGORITHMS, such as "adam", whose step '
                f"size compile(step_size=...) sets; got {type(algorithm).__name__}."
            )
        if num_classes != 0 or isinstance(num_classes, bool):
            num_classes = integer("num_classes", num_classes, 2, beside="0 (without classes) or ")
        if latent_dim is not None:
            latent_dim = integer("latent_dim", latent_dim, 1)
        packing = integer("packing", packing, 1)
        self.algorithm, self.num_classes = algorithm, int(num_classes)
        given = Pair(generator, discriminator)
        first = models_of(given, 0)
        law = None if latents is None else LatentLaw(latents)
        if law and latent_dim not in (None, law.dim):
            raise InputError(
                f"latent_dim={latent_dim}, and the latents {law.name} have {law.dim} "
                "numbers. Leave latent_dim out."
            )
        if law:
            latent_dim = law.dim
        from_file = objective is _unknown_objective
        if not (callable(objective) or isinstance(objective, str)):
            raise InputError(
                "objective must be a name or a function (real, fake) -> Losses, got "
                f"{objective!r}. The names are {', '.join(OBJECTIVES)}."
            )
        known = objective if callable(objective) else OBJECTIVES.get(objective)
        known = None if from_file else known
        self.latent_dim, networks = _fitted(first, latent_dim, num_classes, known, packing)
        self._shape: tuple[int, ...] = networks.theta.output_shape
        if callable(objective):
            if not from_file:
                check_objective(objective, 4, networks.w.output_shape, networks.w.dtype)
        elif objective not in OBJECTIVES:
            function = ", or give a function (real, fake) -> Losses"
            raise unknown("objective", objective, OBJECTIVES, function)
        elif warning := user_models.squashed(first.w, objective):
            warnings.warn(warning, stacklevel=3)
        self._configuration = Configuration(
            given,
            algorithm,
            objective,
            law,
            {
                "gradient_penalty": gradient_penalty,
                "r1": r1,
                "r2": r2,
                "penalty": penalty,
                "penalty_every": penalty_every,
                "penalty_schedule": penalty_schedule,
                "packing": packing,
                "augment": augment,
                "augment_probability": augment_probability,
                "augment_schedule": augment_schedule,
                "augment_target": augment_target,
                "augment_speed": augment_speed,
                "weight_clip": weight_clip,
            },
            self.latent_dim,
            num_classes,
            num_particles,
            Pair(*map(user_models.describe, networks)),
        )
        penalties = {"gradient_penalty": gradient_penalty, "r1": r1, "r2": r2, "penalty": penalty}
        if not any(penalties.values()) and (penalty_every, penalty_schedule) != (1, "constant"):
            raise InputError(
                "penalty_every and penalty_schedule are of a penalty, and there is none. Give one "
                f"of {', '.join(penalties)}, or leave them out."
            )
        if policy := augmentation.parse(augment):
            try:
                augmentation.Augmentation(policy).check(self._shape)
            except InputError as error:
                raise InputError(f'augment="{augment}": {error}') from None
        if penalty is not None:
            *axes, channels = self._shape
            check_penalty(penalty, networks.w, (*axes, packing * (channels + num_classes)))
        self._loop: Loop[Run] | None = None
        self._open: Callable[[], Loop[Run]] | None = None
        self._workdir: Path | None = None  # of what is trained, if it has one
        self._drawn: dict[str, tuple[MixedStrategy, Callable]] = {}

    # How it is trained.

    @answered
    def compile(
        self,
        *,
        step_size: float | Callable | None = None,
        step_size_schedule: str | None = None,
        step_size_rate: float | None = None,
        temperature: float | Callable | None = None,
        temperature_schedule: str | None = None,
        temperature_rate: float | None = None,
        num_inner_steps: int | None = None,
        inner_steps_rate: float | None = None,
        inner_steps_schedule: str | None = None,
        damping: float | None = None,
        preconditioner: str | None = None,
        rms_decay: float | None = None,
        rms_correction: bool | None = None,
        prior_std: float | None = None,
        weight_decay: float | None = None,
        stability: float | None = None,
        decay_1: float | None = None,
        decay_2: float | None = None,
        decay_2_schedule: str | None = None,
        num_chains: int | None = None,
        history: str | None = None,
        history_capacity: int | None = None,
        history_batch: int | None = None,
        mirror_step: float | None = None,
        num_particles: int | None = None,
        weights: str | None = None,
        weight_step: float | None = None,
        weight_floor: float | None = None,
        rebirth_below: float | None = None,
        rebirth_noise: float | None = None,
        generator: Mapping[str, Any] | None = None,
        discriminator: Mapping[str, Any] | None = None,
        seed: int = 0,
        discriminator_steps: int = 1,
        alternated: bool = False,
        ema_decay: float = 0.999,
        ema_half_lives: Sequence[int] = (),
        ema_schedule: str = "constant",
        num_components: int = 30,
        window: tuple[float, float] = (0.75, 1.0),
        when: str = "random",
        particle_batch: str = "split",
        particle_latents: str = "own",
        kappa: float = 1.0,
        extrapolate: str = "measure",
        xla: str = "auto",
    ) -> None:
        """Sets how both players move; what is None takes the algorithm's default for your own data.

        These are in docs/algorithms, and config.json of a workdir has what a run took. By default
        the step size of most algorithms falls to 0 on a line, and the Mirrors have a temperature.

        Args:
          step_size: gamma >= 0 at t = 0; or a function of the outer step t = 0, 1, 2, ... (a
            float64 tensor) that returns gamma_t.
          step_size_schedule: "constant", "linear" (to 0 at the end), "cosine", "exponential" or
            "cyclical", with options such as "cosine(warmup=0.05, end=0.1)" (docs/modern.md).
          step_size_rate: r in [0, 1) of "exponential", gamma (1 - r)^t.
          temperature: epsilon >= 0 of the noise sqrt(2 gamma epsilon P); or a function of t.
          temperature_schedule: as of the step size.
          temperature_rate: the same.
          num_inner_steps: K >= 1, Langevin steps of an outer step (the Mirror algorithms).
          inner_steps_rate: K_t = min(K, floor((1 + rate)^t)); 0: K at once.
          inner_steps_schedule: as of the step size, rounded: "linear(end=0.2)" from K to K / 5.
          damping: beta in (0, 1].
          preconditioner: "rms" (pSGLD) or "none" (SGLD).
          rms_decay: a in [0, 1) of the preconditioner.
          rms_correction: whether its V is corrected for its start at 0, V / (1 - a^n).
          prior_std: s >= 0 of the initial measure N(0, s^2 I) of the Langevin algorithms; 0: flat.
          weight_decay: c >= 0 of the algorithms that have no temperature.
          stability: lambda >= 0 of the preconditioner, or Adam's constant.
          decay_1: in [0, 1), of Adam's first moment.
          decay_2: in [0, 1), of Adam's second moment.
          decay_2_schedule: as of the step size; `end` is a fraction of decay_2.
          num_chains: n' >= 1, of sample_md and sample_mp (and the four below).
          history: "full", "reservoir" or "window".
          history_capacity: H >= 1.
          history_batch: b >= 0; 0: all of the past.
          mirror_step: eta > 0.
          num_particles: n' >= 1; by default the constructor's.
          weights: of particles, "uniform" or "learnt".
          weight_step: eta >= 0 of learnt weights.
          weight_floor: delta in [0, 1).
          rebirth_below: weight under which a particle becomes a copy of the heaviest; 0: none does.
          rebirth_noise: standard deviation of the copy's parameters around it.
          generator: any of the above for the generator alone.
          discriminator: any of the above for the discriminator alone.
          seed: in [0, 2^62), of every draw: data, latents, noise, snapshots.
          discriminator_steps: n >= 1 outer steps of the discriminator per one of the generator.
          alternated: True: the generator moves against the discriminator that has just moved, as
            in most code for GANs; of sgd, rmsprop, adam and optimistic_adam.
          ema_decay: in [0, 1), per mini-batch.
          ema_half_lives: of further averages, in samples: (10000,) makes the answer "ema_10000".
          ema_schedule: of a factor on all half-lives, such as "constant(warmup=0.1)".
          num_components: M >= 1, snapshots of the mixture.
          window: of which part of the run they are, 0 <= first < last <= 1.
          when: "random", or "low_points": of these only the ends of the cycles of the generator's
            step size, whose schedule is cyclical.
          particle_batch: how several generators share a mini-batch: "split", "full" or "thin".
          particle_latents: "own" or "shared".
          kappa: >= 0, of chambolle_pock.
          extrapolate: "measure" or "parameters", of chambolle_pock.
          xla: "parts" (of a graph), "whole" (one XLA program a call, for one GPU), or "auto":
            whichever is faster here. The same run but for rounding.

        Raises:
          InputError: for the first value out of its range, with the valid choices, or one that the
            algorithm does not read.

        Example:
          >>> gan.compile(step_size=1e-3, discriminator={"step_size": 2e-3}, seed=0)
          >>> gan.compile(step_size=lambda t: 1e-3 / (1.0 + t))
        """
        given = dict(locals())
        bounds = tuple(several("window", window, "two numbers, such as (0.75, 1.0)", 2))
        self._configuration.compile(
            given,
            seed=seed,
            discriminator_steps=discriminator_steps,
            alternated=alternated,
            ema_decay=ema_decay,
            ema_half_lives=tuple(several("ema_half_lives", ema_half_lives, "a tuple of numbers")),
            ema_schedule=ema_schedule,
            compile=xla,
            mixture={"num_components": num_components, "window": bounds, "when": when},
            particles={"batch": particle_batch, "latents": particle_latents},
            chambolle_pock={"kappa": kappa, "extrapolate": extrapolate},
        )

    @answered
    def fit(
        self,
        data: Any,
        *,
        batch_size: int = 64,
        num_batches: int = 10_000,
        labels: Any = None,
        validation_data: Any = None,
        validation_split: float = 0.0,
        workdir: str | os.PathLike | None = None,
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        steps_per_epoch: int = 100,
        score_every: int = 0,
        score_samples: int | None = None,
        health_every: int | None = None,
        verbose: int = 1,
        publish: str = "mixture",
        picture_every: int = 3_000,
        checkpoint_every: int = 3_000,
        keep_last: int = 3,
        keep_every: int = 0,
        keep_best: str = "",
        on_divergence: str = "stop",
        max_rollbacks: int = 3,
        accumulate: int = 1,
        devices: str = "default",
    ) -> keras.callbacks.History:
        """Trains one whole run, from the models' own weights; resumes where the workdir is.

        Without a workdir nothing touches the disk. With one there is all that `trainers.run`
        writes: checkpoints, metrics.jsonl, TensorBoard, pictures, provenance.json, a published
        model and scorecard.json; the same call after a kill goes on as if nothing had happened, bit
        for bit.
        After it TensorFlow is as it was before: op determinism, seeds, policies, signal handlers.

        Args:
          data: rows of the shape that the generator makes, of any number type:
            an array [n, ...], or (x, y) with labels: shuffled anew in every epoch of the data;
            a function (m, size) -> x or (x, y), mini-batch number m = 0, 1, 2, ... of `size` rows;
              a `tf.function` becomes part of the compiled steps;
            a `keras.utils.PyDataset`, whose items are the mini-batches;
            a `tf.data.Dataset` of rows or of mini-batches, repeated without end. Resuming reads it
              again from its beginning, so it is exact if its own order is: give `shuffle` a seed.
            Images of uint8 [n, h, w, c] become numbers in [-1, 1]; all else is taken as it is.
          batch_size: B >= 1, rows of a mini-batch; with `num_particles` a multiple of it.
          num_batches: >= 1, of the whole run. Schedules end there. An outer step t uses one, or two
            with Mirror-Prox's and sample_mp's two phases.
          labels: integers [n] or [n, 1] in [0, num_classes), where `data` is an array.
          validation_data: real rows that scores compare with, of any kind that `data` may be; of a
            data set each of its rows once, at most the first 10,000.
          validation_split: in [0, 1), the fraction of the rows of arrays held out instead.
          workdir: a folder that is new, empty, or of the same run: other arrays are refused, other
            data of another kind and other functions are warned of, as far as it can be told.
          callbacks: of Keras. They are called once an epoch; `keras.callbacks.ModelCheckpoint`
            saves the whole game. A callback that ends the training leaves a checkpoint and no
            scorecard; the same call trains on.
          steps_per_epoch: >= 1, mini-batches of an epoch, of which losses, penalties and field
            norms are means; the other logs are those at its end.
          score_every: every so many mini-batches the scores of every answer are logged, as
            score/ANSWER/METRIC: energy_distance, precision, recall, density, coverage, ks_max,
            ks_mean; 0: never. EarlyStopping(monitor="score/ema/energy_distance", mode="min").
          score_samples: of how many samples; by default 2,000.
          health_every: every so many mini-batches the run's health is looked at, by default 20
            times but no more often than every 200 mini-batches (docs/diagnosis.md): what it finds
            is a warning at the end, and finding/NAME and health/MEASURE of the history. 0: never.
          verbose: 0 shows nothing, 1 a bar and lines.
          publish: the answer that the workdir publishes: "mixture", "last" or "ema".
          picture_every: mini-batches between pictures, in the workdir; 0: at the end alone.
          checkpoint_every: mini-batches between checkpoints, in the workdir.
          keep_last: >= 1, checkpoints that stay.
          keep_every: and the first at or after each multiple of so many mini-batches; 0: none.
          keep_best: and the best by "min:KEY" or "max:KEY", a score ("min:energy_distance") or
            a record's entry ("min:loss/w"); "": none. `load(workdir, step="best")` reads it.
          on_divergence: "stop", or "rollback" to the last checkpoint with half the step sizes; it
            stops where the data of the mini-batch are not finite.
          max_rollbacks: >= 0.
          accumulate: parts of a mini-batch that are computed one after the other.
          devices: "default" (all GPUs), "mirrored" or "multi_worker" of tf.distribute.

        Returns:
          A `keras.callbacks.History`: `epoch`, and `history` with a list for each of loss/theta,
          loss/w (generator and discriminator), penalty/*, field_norm/*, step_size/*,
          temperature/* and inner_steps/* where there are such, `loss` (the sum of the two), step,
          outer_step; and score/*, health/*, finding/* of the epochs in which these were looked at.

        Raises:
          InputError: for data that do not fit, before anything is written.
          FloatingPointError: if a player left the finite numbers, unless a callback stopped for it.
          KeyboardInterrupt: after SIGINT, once the step is done (and a checkpoint is written).
          SystemExit: the same for SIGTERM.

        Example:
          >>> stop = keras.callbacks.EarlyStopping("score/last/energy_distance", mode="min")
          >>> rows = np.random.default_rng(0).normal(size=(64, 2))
          >>> history = gan.fit(rows, batch_size=16, num_batches=6, steps_per_epoch=2,
          ...                   score_every=2, callbacks=[stop], verbose=0)
          >>> sorted(history.history)[:3]
          ['field_norm/theta', 'field_norm/w', 'loss']
        """
        if self._configuration.base is None:
            raise InputError("Call compile(...) before fit(...); compile() takes tuned defaults.")
        self._configuration.check_schedules()
        callbacks = checked(callbacks)
        where = None if workdir is None else as_path("workdir", workdir)
        made, held_out = self._data(data, batch_size, labels, validation_data, validation_split)
        config = self._configuration.resolved(
            num_batches=num_batches,
            batch_size=batch_size,
            log_every=steps_per_epoch,
            score_every=score_every,
            score_samples=score_samples,
            health_every=health_every,
            publish=publish,
            picture_every=picture_every,
            checkpoint_every=checkpoint_every,
            keep_last=keep_last,
            keep_every=keep_every,
            keep_best=keep_best,
            on_divergence=on_divergence,
            max_rollbacks=max_rollbacks,
            accumulate=accumulate,
            strategy=devices,
        )
        config["data"] = made.describe()
        if score_samples is not None and not score_every:
            raise InputError(
                f"score_samples={score_samples} is of the scores on the way, and score_every is 0. "
                "Set score_every, or leave score_samples out."
            )
        if workdir is None and keep_best:
            raise InputError(
                f"keep_best={keep_best!r} keeps a checkpoint, which a workdir holds. Give "
                "workdir=..., or no keep_best."
            )
        if workdir is None and on_divergence == "rollback":
            raise InputError(
                'on_divergence="rollback" goes back to a checkpoint, which a workdir holds. Give '
                'workdir=... or on_divergence="stop".'
            )
        given = self._configuration.given(config, made, held_out)
        task: Any = given.task
        run = build(config, given=given)
        check(run)
        if workdir is not None or score_every or held_out is not None:
            task.check_scores()
        if _several(run):
            run.other_networks(1)  # says now what is wrong with a second one
        if warning := task.out_of_reach():
            warnings.warn(warning, stacklevel=3)
        epochs = Epochs(callbacks, steps_per_epoch, num_batches, saving.save)
        self._forget()
        if where is None:
            fitting.in_memory(run, epochs, bool(verbose), self._keep)
        else:
            del run
            for warning in saving.differences(where, made, given):
                warnings.warn(warning, stacklevel=3)
            self._workdir = where
            fitting.in_folder(config, where, given, epochs, bool(verbose), self._keep)
        fitting.warn_of_findings(epochs.records, num_batches)
        return epochs.history

    def _data(self, data, batch_size, labels, validation_data, validation_split):
        shape = self._shape
        if not isinstance(batch_size, int) or batch_size < 1:
            raise InputError(f"batch_size must be an integer of at least 1, got {batch_size!r}.")
        if validation_data is not None and validation_split:
            raise InputError(
                "validation_data and validation_split both say what scores compare with. Give one."
            )
        made = user_data.make(data, batch_size, shape, labels)
        if labels is not None and not self.num_classes:
            raise InputError(
                "labels are of class-conditional games; this one has num_classes=0. Leave them out."
            )
        if validation_data is not None:
            return made, user_data.make_compared(validation_data, batch_size, shape)
        if not validation_split:
            return made, None
        if not isinstance(made, user_data.ArrayData) or not 0 < validation_split < 1:
            raise InputError(
                f"validation_split={validation_split} holds out rows of arrays, a fraction in "
                "[0, 1). Give validation_data for data of another kind."
            )
        base = self._configuration.base
        assert base is not None
        return made.split(validation_split, user_data.order_seed(base["seed"], "held_out"))

    # What comes out.

    @property
    def _trained(self) -> Loop[Run]:
        if self._loop is None and self._open is not None:
            with user_models.drawing_nothing():
                self._loop = self._open()
        if self._loop is None:
            raise InputError("This game is not trained yet. Call fit(...), or MixedNashGAN.load.")
        return self._loop

    def _keep(self, loop: Loop[Run] | None, reopen: Callable[[], Loop[Run]] | None) -> None:
        self._loop, self._open = loop, reopen

    def _forget(self) -> None:
        self._loop, self._open, self._workdir, self._drawn = None, None, None, {}

    def _strategy(self, answer: str) -> tuple[MixedStrategy, Callable]:
        config = (self._configuration.base or {}) if self._loop is None else self._loop.run.config
        valid = settings.answers_of({"ema_half_lives": (), **config})
        if answer not in valid:
            raise unknown("answer", answer, valid)
        if answer not in self._drawn:
            loop = self._trained
            strategy = loop.run.strategy(*loop.answers()[answer])
            groups: Any = InWholeGroups(strategy.generator)
            served = MixedStrategy(
                Measure(strategy.atoms, strategy.weights),
                groups,
                strategy.latent_dim,
                strategy.num_classes,
                latent_law=strategy.latent_law,
            )
            width = strategy.latent_dim + strategy.num_classes
            draw = tf.function(served.generate, autograph=False).get_concrete_function(
                tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, width], tf.float32)
            )
            self._drawn[answer] = strategy, draw
        return self._drawn[answer]

    def sample(
        self, n: int, seed: int = 0, labels: Any = None, answer: str = "mixture"
    ) -> np.ndarray:
        """Samples 0 .. n - 1 of a seed; the same ones whatever n, and as a published model's.

        Args:
          n: how many, at least 0.
          seed: in [0, 2^63).
          labels: of a class-conditional game: a class in [0, k), or classes [n]; by default drawn.
          answer: "mixture" (each sample draws its generator), "last" or "ema".

        Returns:
          float32 [n, ...].

        Raises:
          InputError: before a fit, for an unknown answer, numbers or labels out of range.

        Example:
          >>> bool((gan.sample(3, seed=7) == gan.sample(8, seed=7)[:3]).all())
          True
        """
        n, seed = integer("n", n, 0), integer("seed", seed, 0, 2**63 - 1)
        strategy, draw = self._strategy(answer)
        components, inputs = strategy.draw(seed_rows(seed, n))
        if labels is not None:
            if not strategy.num_classes:
                raise InputError(
                    "labels are of class-conditional games; this one has num_classes=0."
                )
            classes = np.asarray(labels)
            if not classes.size:  # of no sample; NumPy makes floats of an empty list
                classes = classes.astype(np.int64)
            if classes.shape not in ((), (n,), (n, 1)):
                raise InputError(
                    f"labels must be one class, or a class for each of the {n} samples, got shape "
                    f"{list(classes.shape)}."
                )
            classes = np.broadcast_to(classes.reshape(classes.shape[:1]), (n,))
            user_data.check_labels(classes, strategy.num_classes)
            inputs = strategy.with_classes(
                inputs[:, : strategy.latent_dim], tf.constant(classes, tf.int64)
            )
        return draw(components, inputs).numpy()

    def mixture(self, answer: str = "mixture") -> MixedStrategy:
        """The mixed strategy: its `atoms` [M, d], `weights` [M], and `sample(seeds)`.

        Args:
          answer: "mixture", "last" or "ema".

        Raises:
          InputError: before a fit, or for an unknown answer.

        Example:
          >>> gan.mixture("last").num_components
          1
        """
        return self._strategy(answer)[0]

    def generator(self, answer: str = "last", component: int | None = None) -> keras.Model:
        """A trained generator as a Keras model of its own, with the weights of the answer.

        `sample` computes 16 rows at a time, in a graph: so does a `tf.function` of this model that
        is called on 16 latents at a time, and the samples are the same to the last bit. Called on
        other numbers of rows, or eagerly, TensorFlow chooses other kernels of matrix products and
        normalisations, which round otherwise: by about 1e-6 of the outputs' size.

        An answer of several generators (the mixture, or particles) has one for each component:
        `[gan.generator("mixture", i) for i in range(gan.mixture().num_components)]`.

        Args:
          answer: "last", "ema" or "mixture".
          component: in [0, M), of an answer of several.

        Raises:
          InputError: before a fit, or where an answer of several needs a component.

        Example:
          >>> gan.generator("ema").predict(np.zeros((1, 2)), verbose=0).shape
          (1, 2)
        """
        strategy, _ = self._strategy(answer)
        z = strategy.atoms[_component(answer, component, strategy.num_components)]
        with user_models.drawing_nothing():
            return self._trained.run.game.generator.to_keras(z)

    def discriminator(self, component: int | None = None) -> keras.Model:
        """The trained discriminator of the last iterate as a Keras model of its own.

        Args:
          component: in [0, n'), of several particles.

        Raises:
          InputError: before a fit, or where several particles need a component.

        Example:
          >>> gan.discriminator().predict(np.zeros((4, 2)), verbose=0).shape
          (4, 1)
        """
        loop, run = self._trained, self._trained.run
        atoms: Any = loop.latest().w.atoms
        index = _component("discriminator", component, len(atoms))
        network, kept = run.game.discriminator, loop.states().w
        state = kept if kept is None or kept.shape.rank == 1 else kept[index]
        z = atoms[index]
        if network.num_statistics:
            # In training it normalises by each mini-batch: here by the mean of some of real data.
            draw = run.task.batches("calibration/w", _CALIBRATION, run.batch_size, network.dtype)
            z = network.calibrated(z, [draw(i) for i in range(_CALIBRATION)], state)
            state = None
        with user_models.drawing_nothing():
            return network.to_keras(z, state)

    def evaluate(
        self, real: Any, answer: str = "mixture", num_samples: int | None = None, nearest_k: int = 5
    ) -> dict[str, Any]:
        """Scores samples of an answer against real rows that the training has not seen.

        Args:
          real: rows [m, ...], m > nearest_k, of any kind that `fit` takes: all rows of an array; of
            a data set each once, at most the first 10,000; `num_samples` or 1,000 of what has no
            end, such as a function.
          answer: "mixture", "last" or "ema".
          num_samples: by default as many as there are real rows.
          nearest_k: k of precision, recall, density and coverage.

        Returns:
          energy_distance (0 for the same law; columns in units of their standard deviation),
          precision, recall, density, coverage, ks_max, ks_mean, and `ks` for each column.

        Raises:
          InputError: before a fit, for rows of another shape, or too few rows or samples.

        Example:
          >>> scores = gan.evaluate(np.random.default_rng(1).normal(size=(50, 2)), answer="last")
          >>> 0 <= scores["ks_max"] <= 1
          True
        """
        shape = self._shape
        nearest_k = integer("nearest_k", nearest_k, 1)
        if num_samples is not None and integer("num_samples", num_samples, 1) <= nearest_k:
            raise InputError(f"num_samples must be above nearest_k={nearest_k}, got {num_samples}.")
        num = num_samples or _EVALUATED
        rows = user_data.make_compared(real, num, shape, num)
        x, y = rows.first(num)
        if rows.shape != shape or min(len(x), num_samples or len(x)) <= nearest_k:
            raise InputError(
                f"evaluate needs more than nearest_k={nearest_k} rows of {list(shape)}, got "
                f"{list(x.shape)}."
            )
        x = user_data.with_classes(tf.constant(x), y, 0, tf.float32).numpy()
        if not np.isfinite(x).all():
            raise InputError("The rows hold NaN, infinity or numbers beyond float32.")
        samples = self.sample(num_samples or len(x), SEED, answer=answer)
        return vector_scores.scorecard(samples, x, nearest_k)

    # Files.

    def save(self, path: str | os.PathLike, overwrite: bool = True) -> Path:
        """Writes the whole game, trained so far, into a folder that `load` and the commands read.

        Args:
          path: of the folder; what was saved there before is replaced.
          overwrite: False refuses a folder that is there.

        Returns:
          The path.

        Raises:
          InputError: before a fit, or for a folder that holds something else.

        Example:
          >>> path = gan.save(tmp / "game")
          >>> bool((MixedNashGAN.load(path).sample(4) == gan.sample(4)).all())
          True
        """
        path = as_path("path", path)
        if path.exists() and not overwrite:
            raise InputError(f"{path} is there already. Give another path, or overwrite=True.")
        saving.save(self._trained, path)
        return path

    @classmethod
    def load(
        cls,
        path: str | os.PathLike,
        generator: keras.Model | Callable[[], keras.Model] | None = None,
        discriminator: keras.Model | Callable[[], keras.Model] | None = None,
        objective: Objective | None = None,
        latents: Any = None,
        step: int | str | None = None,
        penalty: Penalty | None = None,
    ) -> Self:
        """A game from a folder of `save`, or from a workdir of `fit` or `trainers.run`.

        Args:
          path: of the folder.
          generator: where the folder's description cannot rebuild it: a model of your own class.
          discriminator: the same.
          objective: where it is a function of your own; needed only to train on.
          latents: where they are not N(0, I).
          step: of a workdir, the checkpoint of this mini-batch, or "best" of `keep_best`; by
            default the newest.
          penalty: where it is a function of your own; needed only to train on.

        Raises:
          InputError: if there is no game, or a model cannot be rebuilt or is another one.

        Example:
          >>> again = MixedNashGAN.load(gan.save(tmp / "again"))
          >>> again.algorithm == gan.algorithm
          True
        """
        workdir = as_path("path", path)
        if not (workdir / folder.CONFIG).is_file():
            raise InputError(
                f"{workdir} holds no game: it has no {folder.CONFIG}, which the folders of "
                "save(...), fit(workdir=...) and trainers.run have."
            )
        config = settings.load_workdir_config(workdir)
        given = Pair(generator, discriminator)
        if (law := config["model"].get("latents")) and latents is None:
            raise InputError(
                f"The latents of this game are a law of your own, {law.removeprefix(PYTHON)}. Give "
                "it: MixedNashGAN.load(path, latents=...)."
            )
        models, num_classes = [], config["model"].get("num_classes", 0)
        with user_models.drawing_nothing():
            if config["dataset"] == "python":
                for player, model in zip(PLAYERS, given, strict=True):
                    facts = config["model"][player]
                    models.append(model or user_models.from_description(facts, player))
            else:
                run = build({**config, "strategy": "default"})
                models = [network.model for network in run.networks]
                num_classes = run.game.num_classes
        name = config["game"]["objective"]
        gan = cls(
            *models,
            algorithm=config["algorithm"],
            objective=objective or (name if name in OBJECTIVES else _unknown_objective),
            latent_dim=config["model"]["latent_dim"],
            latents=latents,
            num_classes=num_classes,
            penalty=penalty,
            packing=config["game"]["packing"],
        )
        if config["dataset"] == "python":
            gan._configuration.restore(config, workdir)
            mine = gan._configuration.given({**config, "strategy": "default"}, None)
        else:
            mine = None
        gan._open, gan._workdir = lambda: reading.load_loop(workdir, step, mine), workdir
        gan._trained  # noqa: B018 - says now what is wrong
        return gan

    def publish(self, base: str | os.PathLike, answer: str = "mixture") -> Path:
        """Publishes an answer as the next version of a SavedModel, checked before it appears.

        Its card, README.md, says what the answer is, how to sample, score and train it on; after a
        whole fit with a workdir, it has that run's scores.

        Args:
          base: the model's folder, named as the model.
          answer: "mixture", "last" or "ema".

        Returns:
          The version's folder; `python -m export.sample --model=BASE` samples it.

        Raises:
          InputError: before a fit, for an unknown answer, or if base cannot be written.

        Example:
          >>> version = gan.publish(tmp / "moons", answer="last")
          >>> (version / "saved_model.pb").is_file()
          True
        """
        strategy, _ = self._strategy(answer)
        loop = self._trained
        metadata = {
            **reading.metadata_of(loop.run.config, loop.run.task),
            "strategy": answer,
            "average": answer,
            "step": loop.step,
            **(reading.scores_of(self._workdir, loop, answer) if self._workdir else {}),
        }
        return publish_strategy(strategy, as_path("base", base), metadata)


def _fitted(
    models: Pair, latent_dim: int | None, *of_game: Any, hint: bool = True
) -> tuple[int, Pair]:
    """(D, the networks); of_game: num_classes, objective, packing; hint: say so of swapped ones."""
    num_classes, objective, packing = of_game
    try:
        dim = latent_dim or user_models.latent_dim_of(models.theta, num_classes)
        options: dict[str, Any] = {"objective": objective, "packing": packing}
        return dim, user_models.networks(models, dim, num_classes, **options)
    except InputError as error:
        if not hint:
            raise
        try:
            _fitted(Pair(models.w, models.theta), None, *of_game, hint=False)
        except InputError:
            raise error from None
        raise InputError(
            f"{error} They fit the other way round: MixedNashGAN(generator, discriminator)."
        ) from None


def _several(run: Run) -> bool:
    """Whether a player starts at several points."""
    key = "num_chains" if ALGORITHMS[run.algorithm].chains else "num_particles"
    return any(getattr(h, key) > 1 for h in run.hyperparameters)


def _component(answer: str, component: int | None, count: int) -> int:
    if component is None and count == 1:
        return 0
    if (
        not isinstance(component, int | np.integer)
        or isinstance(component, bool)
        or not 0 <= component < count
    ):
        several = (
            f"{count} networks; give component=0 .. {count - 1}" if count > 1 else "one network"
        )
        raise InputError(
            f"{answer!r} is {several}{'' if component is None else f', got {component!r}'}."
        )
    return int(component)


def _unknown_objective(real, fake):
    raise InputError(
        "The objective of this game is a function of your own. Give it: "
        "MixedNashGAN.load(path, objective=...)."
    )
