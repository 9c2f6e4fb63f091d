"""The stochastic oracle: everything random that a scheme sees, by mini-batch index.

m counts mini-batches from the start of the run ("one iteration", paper footnote 3). Real
data, latents and weight noise are functions of (seed, m): the same m gives the same draw.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.ahead import of_batch
from tf_mixed_nash.compile import for_gpu
from tf_mixed_nash.games.game import Game
from tf_mixed_nash.types import PLAYERS, Measure, Pair, Player

__all__ = ["Oracle"]

_STREAMS = ("_field_keys", "_noise_keys", "_history_keys", "_state_key")


class _Meeting(NamedTuple):
    """Where both players' fields are asked for.

    Attributes:
      points: Pair of tensors.
      m: the mini-batch.
      fields: () -> Pair of what `Oracle.field` returns, or None where the game finds each alone.
    """

    points: Pair
    m: Any
    fields: Callable[[], Pair | None]

    def has(self, player: Player, z, opponent: Measure, m) -> bool:
        """Whether this is the question: of the same tensors, whatever numbers are in others."""
        mine, theirs = self.points if player == "theta" else self.points[::-1]
        atoms = opponent.atoms
        alone = isinstance(atoms, tuple) and len(atoms) == 1 and opponent.weights == (1.0,)
        return z is mine and m is self.m and alone and atoms[0] is theirs


class Oracle:
    """Fields and noise of one run.

    Args:
      game: see `tf_mixed_nash.games`.
      batch_at: m -> the real mini-batch number m (None for games without data).
      seed: of the run.
      evaluate: how `game.field` is called with (player, z, opponent, batch, key), and `states`
        where there are any; a distribution strategy splits the batch here and averages the
        fields. By default a plain call.
      noise_restarts: mini-batches; from each on, the weight noise has another key.
    """

    def __init__(
        self,
        game: Game,
        batch_at: Callable[[Any], Any] | None = None,
        seed: int = 0,
        evaluate: Callable[..., tuple[tf.Tensor, dict[str, tf.Tensor]]] | None = None,
        noise_restarts: Sequence[int] = (),
    ):
        self.game = game
        self._batch_at = batch_at or (lambda m: None)
        self._evaluate = evaluate or game.field
        self._field_keys = {p: rng.stream(seed, f"field/{p}") for p in PLAYERS}
        self._noise_keys = {
            p: [rng.stream(seed, f"noise/{p}{i or ''}") for i in range(1 + len(noise_restarts))]
            for p in PLAYERS
        }
        self._noise_restarts = tuple(noise_restarts)
        self._history_keys = {p: rng.stream(seed, f"history/{p}") for p in PLAYERS}
        self._state_key = rng.stream(seed, "states")
        self._states: Pair | None = None
        self._chance: Any = None
        self._outer_step: Any = None
        self._meeting: _Meeting | None = None
        self._meets = True

    def with_batches(self, batch_at: Callable[[Any], Any]) -> Oracle:
        """The same oracle on other real data: same latents, same noise."""
        other = copy.copy(self)
        other._batch_at = batch_at
        return other

    @property
    def keys(self) -> dict[str, Any]:
        """The streams of all that is drawn, a nest of int32[2]; of the seed alone."""
        return {name: getattr(self, name) for name in _STREAMS}

    def with_keys(self, keys: dict[str, Any]) -> Oracle:
        """The same oracle with the draws of another run, whose `keys` these are."""
        other = copy.copy(self)
        vars(other).update(keys)
        return other

    def with_states(self, states: Pair | None) -> Oracle:
        """The same oracle on networks whose layers keep `states` (see `GanGame.field`)."""
        other = copy.copy(self)
        other._states = states
        return other

    def with_chance(self, chance: tf.Tensor) -> Oracle:
        """The same oracle on a game whose augmentations have this probability now."""
        other = copy.copy(self)
        other._chance = chance
        return other

    def with_outer_step(self, t: Any) -> Oracle:
        """The same oracle in outer step t, which mini-batches do not tell where K_t moves."""
        other = copy.copy(self)
        other._outer_step = t
        return other

    def together(self, points: Pair, m) -> Oracle:
        """The same oracle, for a step that may ask for both players' fields at `points`.

        On a GPU a game that finds both at once (`GanGame.both`) does so, and who asks for one of
        them on mini-batch m is given his half; every other question is answered by itself. On CPUs
        all are: there the two fields are computed side by side, each on a part of the cores.
        """
        both = getattr(self.game, "both", None)
        plain = self._states is None and self._chance is None
        if not (self._meets and both and plain and for_gpu() and self._evaluate == self.game.field):
            return self

        @functools.cache  # whoever asks first
        def fields():
            keys = Pair(*(_key(self._field_keys[p], m) for p in PLAYERS))
            return both(points, self._batch_at(m), keys)

        other = copy.copy(self)
        other._meeting = _Meeting(points, m, fields)
        return other

    def alone(self) -> Oracle:
        """The same oracle, without `together`: for steps of which one player's half is not kept."""
        other = copy.copy(self)
        other._meets = False
        return other

    def logged(self, player: Player) -> tuple[str, ...]:
        """What the logs of this player's fields have beside "loss" and "penalty"."""
        augmentation = getattr(self.game, "augmentation", None)
        return ("sign",) if player == "w" and augmentation and augmentation.adaptive else ()

    def of_chain(self, player: Player, j: int) -> Oracle:
        """The oracle that chain j of `player` asks: its own state, against any networks."""
        if self._states is None:
            return self
        states = self._states.of(player)
        own = None if states is None else states[j]
        return self.with_states(Pair(own, None) if player == "theta" else Pair(None, own))

    def states(self, points: Pair, m) -> Pair:
        """What the layers keep after an outer step, at its points, on mini-batch m.

        Only with `with_states`; see `GanGame.updated`.
        """
        game: Any = self.game
        key = _key(self._state_key, m)
        return game.updated(points, self._batch_at(m), key, self._states)

    def field(self, player: Player, z: tf.Tensor, opponent: Measure, m) -> tuple[tf.Tensor, dict]:
        """The descent direction of `player` at z against `opponent` on mini-batch m."""
        if self._meeting and self._meeting.has(player, z, opponent, m):
            fields = self._meeting.fields()
            if fields is not None:
                return fields.of(player)
        key = _key(self._field_keys[player], m)
        carried: Any = {} if self._states is None else {"states": self._states}
        if getattr(self.game, "reads_the_step", False):
            carried |= {"m": m, "t": self._outer_step}
        if self._chance is not None:
            carried["chance"] = self._chance
        return self._evaluate(player, z, opponent, self._batch_at(m), key, **carried)

    def noise(self, player: Player, z: tf.Tensor, m) -> tf.Tensor:
        """xi ~ N(0, I), shaped like z, for the step of `player` on mini-batch m.

        z is a parameter vector [d], or atoms [m, d]; its shape must be static.
        """
        return rng.normal(self._noise_key(player, m), z.shape, z.dtype, at=m)

    def _noise_key(self, player: Player, m) -> tf.Tensor:
        first, *others = self._noise_keys[player]
        if not others:
            return first
        starts = tf.constant(self._noise_restarts, tf.int64)
        passed = tf.reduce_sum(tf.cast(starts <= tf.cast(m, tf.int64), tf.int64))
        return tf.stack([first, *others])[passed]

    def history_key(self, player: Player, m) -> tf.Tensor:
        """The key of what `player` draws from and for histories on mini-batch m: int32[2]."""
        return _key(self._history_keys[player], m)

    def project(self, player: Player, z: tf.Tensor) -> tf.Tensor:
        """The nearest point (atoms: points) of the player's parameter set."""
        return self.game.project(player, z)


def _key(stream: tf.Tensor, m) -> tf.Tensor:
    """The key of a stream on mini-batch m."""
    return of_batch(lambda m: rng.fold_in(stream, m), m)
