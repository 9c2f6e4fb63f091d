"""The health monitor: looks at a run now and then, and says what is wrong with it.

On by default; `--config.health_every=N` mini-batches (by itself a twentieth of the run, at least
200), 0: off. It draws from a stream of its own and keeps no state: parameters, draws and
all other records are the same with and without it, and a resumed run finds the same. What its
measures mean is `trainers.workdir.findings`'s.

    health/diversity, kinds, num_kinds, duplicates, distance, memorised, by_chance
                                      of samples beside real rows (tf_mixed_nash/metrics/health.py)
    health/known                      the part of the training rows that memorised looks at
    health/d_real, d_fake             the discriminator's mean answers (logits)
    health/d_spread                   the standard deviation of all of them
    health/separation                 P(D(real) > D(fake))
    health/pull/theta, pull/w         how strongly a player's loss pulls at an answer, a mean of
                                      |n dL / dD|: 1 for wgan, 0 where an objective is saturated
    health/growth/theta, growth/w     the parameters' norm over that of the initial ones
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.metrics import health
from tf_mixed_nash.training.loop import Loop
from tf_mixed_nash.types import PLAYERS, Pair
from trainers.experiment.build import Run
from trainers.tasks.planar import PlanarTask
from trainers.workdir.findings import LOOK

__all__ = ["Health", "every"]

_LOOKS, _LEAST = 20, 200
_ROWS = 512
_IMAGES = 256  # each costs a pass of both networks
_KNOWN = 1_000  # training rows that a sample may be a copy of


def every(run: Run) -> int:
    """Mini-batches between two looks; 0: there are none."""
    asked = run.options.health_every
    if asked is not None:
        return asked
    by_itself = max(_LEAST, run.num_batches // _LOOKS)
    return by_itself if run.num_batches >= by_itself else 0


class Health:
    """See the module, and `watchers.Watcher`.

    Args:
      run: what is looked at.
      rows: how many samples a look draws at least; by default few.

    Attributes:
      histograms: of the last look, for TensorBoard.
      broken: why it looks no more; "" while it does.
    """

    time_key = "health_seconds"

    def __init__(self, run: Run, rows: int | None = None):
        self.every, self.seconds = every(run), list[float]()
        self.histograms: Mapping[str, np.ndarray] = {}
        self.broken = ""
        self._run = run
        self._rows = rows or (_IMAGES if run.task.is_image else _ROWS)
        self._first: dict[str, float] = {}  # norms of the initial parameters
        self._prepared: tuple[Any, health.Reference, float] | None = None
        self._judge = tf.function(self._judged, autograph=False)

    def look(self, loop: Loop[Run]) -> dict[str, float]:
        """The measures of now; what cannot be measured is left out.

        Whatever goes wrong here ends the looks, and not the run.
        """
        if self.broken:
            return {}
        began = time.perf_counter()
        try:
            found = self._look(loop)
        except Exception as error:  # whatever code of the user's raises
            self.broken = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            return {}
        self.seconds.append(time.perf_counter() - began)
        # Six digits are more than is meant, and hide how a product of matrices was cut.
        return {f"{LOOK}{k}": float(f"{v:.6g}") for k, v in found.items() if np.isfinite(v)}

    def conclude(self, loop: Loop[Run]) -> tuple[dict[str, Any], str]:
        """Why it did not look to the end, if so: the session says the findings."""
        return {}, self.broken and f"health       not looked at to the end: {self.broken}"

    def _look(self, loop: Loop[Run]) -> dict[str, float]:
        run = self._run
        data, reference, known = self._reference()
        size = min(run.batch_size, self._rows)
        points = Pair(*(_atoms(z) for z in loop.last()))
        states = Pair(*(_of_atoms(s, z) for s, z in zip(loop.states(), points, strict=True)))
        # As many mini-batches as it takes, since layers may normalise by what is in one.
        index = np.arange(-(-self._rows // size) * size).reshape(-1, size) % len(data)
        found_there = self._judge(points, data, tf.constant(index), tf.constant(loop.step), states)
        samples, real, fake, *pulls = (x.numpy() for x in found_there)
        samples = samples.reshape(-1, *samples.shape[2:])
        found = health.measures(samples, reference)
        if "memorised" in found:
            found["known"] = known
        found |= self._answers(real.reshape(-1), fake.reshape(-1))
        for player, values in zip(PLAYERS, pulls, strict=True):
            found[f"pull/{player}"] = float(values.mean())
        for player, z, network in zip(PLAYERS, points, run.networks, strict=True):
            # Without the padding, which the noise moves, too.
            lengths = _lengths(z.numpy()[:, : network.num_parameters])
            if player not in self._first:
                # Before a warm start, which a session that resumes the run does not know.
                first = run.cold.get(player, network.initial().numpy())
                self._first[player] = float(_lengths(first[None, : network.num_parameters])[0])
            if first := self._first[player]:
                found[f"growth/{player}"] = float(lengths.max() / first)
        return found

    def _answers(self, real: np.ndarray, fake: np.ndarray) -> dict[str, float]:
        both = np.concatenate([real, fake])
        if not np.isfinite(both).all():
            return {}
        self.histograms = {f"{LOOK}histogram/d_{k}": x for k, x in (("real", real), ("fake", fake))}
        return {
            "d_real": float(real.mean()),
            "d_fake": float(fake.mean()),
            "d_spread": float(both.std()),
            "separation": health.separation(real, fake),
        }

    def _reference(self) -> tuple[Any, health.Reference, float]:
        """(real rows with their classes, what samples are compared with, health/known)."""
        if self._prepared is None:
            run, num_classes = self._run, self._run.game.num_classes
            dtype = run.networks.theta.dtype
            rows: Any
            rows, total = run.task.some_data(max(self._rows, _KNOWN), dtype)
            plain = np.asarray(rows[..., :-num_classes] if num_classes else rows, np.float64)
            data = run.task.data if isinstance(run.task, PlanarTask) else None
            modes = getattr(data, "modes", None)
            compared = plain[: self._rows]
            training = plain if total else None
            reference = health.Reference.of(compared, modes, training)
            self._prepared = rows, reference, len(plain) / total if total else 1.0
        return self._prepared

    def _judged(self, points: Pair, data: tf.Tensor, index: tf.Tensor, step: Any, states: Pair):
        """Of mini-batches [k, n] of the data: samples, logits of real rows, of samples, pulls.

        All float32, [k, ...]; pulls are the generator's and the discriminator's.
        """
        game = self._run.game
        key = rng.fold_in(rng.stream(self._run.seed, "health"), step)

        def one(given):
            rows, i = given
            samples, real, fake = game.judged(
                points, tf.gather(data, rows), rng.fold_in(key, i), states
            )
            real, fake = tf.cast(real, tf.float32), tf.cast(fake, tf.float32)
            return (tf.cast(samples, tf.float32), real, fake, *_pulls(game.objective, real, fake))

        count: Any = index.shape[0]
        types = (tf.float32,) * 5
        return tf.map_fn(one, (index, tf.range(count)), fn_output_signature=types)


def _lengths(rows: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))


def _pulls(objective: Any, real: tf.Tensor, fake: tf.Tensor) -> Pair:
    """Means of |n dL / dD| of both players' losses."""
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch((real, fake))
        losses = objective(real, fake)
    zero = tf.UnconnectedGradients.ZERO
    of_w: Any = tape.gradient(losses.discriminator, [real, fake], unconnected_gradients=zero)
    of_theta: Any = tape.gradient(losses.generator, fake, unconnected_gradients=zero)
    n = tf.cast(tf.shape(real)[0], real.dtype)
    w = tf.add_n([n * tf.reduce_mean(tf.abs(g)) for g in of_w]) / 2.0
    return Pair(n * tf.reduce_mean(tf.abs(of_theta)), w)


def _atoms(z: tf.Tensor) -> tf.Tensor:
    return z if z.shape.rank == 2 else z[None]


def _of_atoms(state: Any, atoms: tf.Tensor) -> Any:
    """What the layers of these atoms keep; of chains of which the output is one, the first's."""
    if state is None or state.shape.rank == 1 or state.shape[0] == atoms.shape[0]:
        return state
    return state[: atoms.shape[0]]
