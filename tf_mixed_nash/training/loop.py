"""The compiled loop: many outer steps of a scheme in one call.

The state lives in variables between the calls, for checkpoints; inside a call it is plain
tensors. Nothing goes back to the host within a call, which ends where the reservoir keeps an
output (training/reservoir.py). The call is a plain graph with XLA in it, or XLA as a whole
(tf_mixed_nash/compile.py).

Real data are made in the graph where they can be (planar), or passed in as blocks of
consecutive mini-batches (images): one copy to the device for many steps.
"""

from __future__ import annotations

import dataclasses
import functools
import gc
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import tensorflow as tf

from tf_mixed_nash import compile as compiling
from tf_mixed_nash import rng
from tf_mixed_nash.algorithms import ALGORITHMS
from tf_mixed_nash.compile import fused
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.objectives import OBJECTIVES
from tf_mixed_nash.methods.schedules import computed_in
from tf_mixed_nash.training import averages
from tf_mixed_nash.training.feeds import Feed, of_one_length
from tf_mixed_nash.training.reservoir import Reservoir
from tf_mixed_nash.training.run import Training
from tf_mixed_nash.training.whole import LENGTH, SUMMED, Calls
from tf_mixed_nash.types import PLAYERS, Measure, Pair, Player

__all__ = ["Divergence", "Loop"]

R = TypeVar("R", bound=Training)

_NEVER = tf.int64.max
# What checkpoints of earlier versions lack.
_LATER = frozenset({"mixture_w", "mixture_t", "anchor"})


@dataclasses.dataclass(frozen=True)
class Divergence:
    """Where a run left the finite numbers: mini-batch `step`, and which players did."""

    step: int
    players: tuple[str, ...]


class Loop(Generic[R]):
    """The state of a training and the function that advances it.

    Args:
      run: what is trained.

    Attributes:
      run: the same.
      variables: by name; with the reservoir they are all that a checkpoint must hold.
      reservoir: the snapshots.
      compile: how the steps are compiled, `run.compile`; "parts" where XLA could not make one
        program of them and `run.or_parts` allows it.
      refused: what XLA said then; "" elsewhere.
    """

    def __init__(self, run: R):
        self.run = run
        self.compile, self.refused = run.compile, ""
        self._compiled = False  # whether XLA has made a program of the whole step
        state = run.initial_state()
        theta, w = run.scheme.output(state)
        zero = tf.zeros([], tf.int64)
        # Only of players whose layers keep something: others have no such name in a checkpoint.
        kept = run.initial_states((run.scheme.points or run.scheme.output)(state))
        states = {p: tf.Variable(s) for p in PLAYERS if (s := kept.of(p)) is not None}
        self._decays = averages.decays(run.ema_half_lives, run.batch_size)
        emas = {name: tf.Variable(theta) for name in self._decays}
        adaptive = (augmentation := run.game.augmentation) is not None and augmentation.adaptive
        chance = tf.zeros([], theta.dtype)
        sums = {p: {k: tf.zeros([], tf.float64) for k in SUMMED} for p in PLAYERS}
        self._state = {
            "scheme": tf.nest.map_structure(tf.Variable, state),
            "ema": tf.Variable(theta),
            **({"emas": emas} if emas else {}),
            **({"augment_probability": tf.Variable(chance)} if adaptive else {}),
            "anchor": tf.Variable(theta),
            "t": tf.Variable(zero),
            "m": tf.Variable(zero),
            **({"state": states} if states else {}),
            "diverged_at": Pair(*(tf.Variable(_NEVER, dtype=tf.int64) for _ in PLAYERS)),
            "sums": tf.nest.map_structure(tf.Variable, sums),
            "summed_steps": tf.Variable(zero),
        }
        names = tf.nest.flatten(_joined_names(self._state))
        # Names of variables that the restored checkpoint did not have yet.
        self.lacking: frozenset[str] = frozenset()
        self.variables = dict(zip(names, tf.nest.flatten(self._state), strict=True))
        self.reservoir = Reservoir(
            run.num_components,
            run.kept_steps,
            rng.stream(run.seed, "reservoir"),
            Pair(tuple(theta.shape), tuple(w.shape)),
            theta.dtype,
            run.kept_among,
        )

    @property
    def _may_be_nan(self) -> list[str]:
        """Which logs may be NaN where no gradient is: those of functions of the user's own."""
        game = self.run.game
        own = {
            "loss": game.objective not in OBJECTIVES.values(),
            "penalty": game.regularizers.own is not None,
        }
        return [key for key, is_own in own.items() if is_own]

    # Made by the first step: who only reads a run (an export, say) needs none of its data.
    @functools.cached_property
    def _feed(self) -> Feed:
        feed = self.run.feed(self.run.networks.theta.dtype)
        if self.run.compile == "parts":
            return feed
        return of_one_length(feed, self.run.most_batches, LENGTH)

    @functools.cached_property
    def _parts(self):
        signature = [tf.TensorSpec([], tf.int64), self._feed.signature]
        steps = tf.function(self._many_steps, input_signature=signature, autograph=False)
        # Called as it was traced: else TensorFlow warns a process that trains many times.
        return steps.get_concrete_function()

    @functools.cached_property
    def _whole(self) -> Calls:
        return Calls(self.run, self._feed, self._state, self._step)

    def _call(self, end: int, count: int, block: tuple[Any, ...]) -> None:
        """`count` outer steps, up to mini-batch `end`."""
        if self.compile == "whole":
            try:
                self._whole(count, block)
                self._compiled = True
                return
            except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
                if self._compiled or not self.run.or_parts:
                    raise
                # What is compiled first has not run: the state is as it was.
                self.compile, self.refused = "parts", error.message.strip().splitlines()[0]
        self._parts(tf.constant(end, tf.int64), block)

    @property
    def step(self) -> int:
        """m, the mini-batches used so far."""
        return int(self._state["m"])

    @property
    def outer_step(self) -> int:
        """t, the outer steps done so far."""
        return int(self._state["t"])

    def advance(self, until: int) -> Divergence | None:
        """Runs outer steps until at least `until` mini-batches are used.

        Returns:
          None, or where it stopped because a point was not finite.
        """
        # Read once: each look at a variable waits until a GPU has done what it was given, and the
        # next block of data can be made while it works.
        m, t = self.step, self.outer_step
        while m < until:
            due = self.reservoir.next(t)
            end, count = self._end_of_call(m, t, self._feed.limit(m, until), due)
            block = self._feed.block(m, end)
            with compiling.deterministic():
                self._call(end, count, block)
            m, t = end, t + count
            if due is not None and t == due + 1:
                self.reservoir.keep(due, self.last(), self.weights())
        return self.divergence

    @property
    def divergence(self) -> Divergence | None:
        """Where it left the finite numbers, if it did."""
        steps = {p: int(self._state["diverged_at"].of(p)) for p in PLAYERS}
        first = min(steps.values())
        if first == _NEVER:
            return None
        return Divergence(first, tuple(p for p in PLAYERS if steps[p] == first))

    @property
    def waited(self) -> float:
        """Seconds that the steps stood still for real data, since the start of this process."""
        return self._feed.waited if "_feed" in self.__dict__ else 0.0

    def close(self) -> None:
        """Ends the threads that read data. The loop cannot be advanced after it."""
        if "_feed" in self.__dict__:
            self._feed.close()

    def release(self) -> None:
        """Gives the state's memory back. Of the loop, only `close` may be used after it."""
        self._state, self.variables = {}, {}
        self.reservoir.clear()
        for name in ("_parts", "_whole"):
            self.__dict__.pop(name, None)  # their graphs hold the variables
        gc.collect()

    def logs(self) -> dict[str, float]:
        """Means of the logged scalars since the last call, which starts the sums anew."""
        count = max(int(self._state["summed_steps"]), 1)
        means = {
            f"{name}/{player}": float(total) / count
            for player, sums in self._state["sums"].items()
            for name, total in sums.items()
        }
        for variable in (*tf.nest.flatten(self._state["sums"]), self._state["summed_steps"]):
            variable.assign(tf.zeros_like(variable))
        return means

    def tensors(self, reservoir: bool = True) -> dict[str, Any]:
        """The whole state now, for `Checkpoints.save`: tensors, and the reservoir as `Rows`.

        Of the reservoir's rows only those that are kept. What it returns stays as it is while
        the loop goes on.

        Args:
          reservoir: False leaves the reservoir out; the rest costs nothing to keep.
        """
        values: dict[str, Any] = {n: v.read_value() for n, v in self.variables.items()}
        return values | self.reservoir.rows(self.outer_step) if reservoir else values

    def assign(self, tensors: Mapping[str, Any]) -> None:
        """Takes the state that `tensors` gave; a reservoir that it left out stays as it is.

        Raises:
          InputError: if a tensor is missing, unknown or of another shape. Nothing changes then.
        """
        snapshots = {n: value for n, value in tensors.items() if n in self.reservoir.names}
        names = {*self.variables, *(self.reservoir.names if snapshots else ())}
        # Written by an earlier version: discriminators stay out of the mixture (mixture_t is -1),
        # and there is no theta_bar.
        lacking, unknown = names - set(tensors), set(tensors) - names
        if lacking - _LATER or unknown:
            raise InputError(
                "The checkpoint is not of this run: it "
                + (f"lacks {', '.join(sorted(lacking))}" if lacking else "")
                + (" and " if lacking and unknown else "")
                + (f"has {', '.join(sorted(unknown))}" if unknown else "")
                + ". Was it written by another version of this package?"
            )
        for name in self.variables.keys() & tensors.keys():
            there, here = list(tensors[name].shape), self.variables[name].shape.as_list()
            if there != here:
                raise InputError(
                    f"The checkpoint is not of this run: {name} has shape {there} there, "
                    f"{here} here."
                )
        if snapshots:
            self.reservoir.assign(snapshots, int(tensors["t"]))
        self.lacking = frozenset(lacking)
        for name in self.variables.keys() & tensors.keys():
            self.variables[name].assign(tensors[name])

    def last(self) -> Pair:
        """The algorithm's output now: Pair of vectors, or of the atoms [n', d] of measures."""
        return self.run.scheme.output(self._scheme_state())

    def weights(self) -> Pair:
        """Those of the output's atoms: Pair of [n'], of sum 1; None of a player that is a point."""
        return self.run.scheme.weights(self._scheme_state())

    def states(self) -> Pair:
        """What the networks' layers keep now, of `Network.num_state` numbers.

        Returns:
          Pair of [S] of the output, [n', S] of its atoms (of all chains, where the output is one of
          them); None of a player whose layers keep nothing.
        """
        return self._of_players(self._state.get("state"))

    def _of_players(self, states: dict[str, Any] | None) -> Any:
        """None without any; else a Pair, with None for a player without."""
        if not states:
            return Pair(None, None)
        return Pair(*(tf.convert_to_tensor(states[p]) if p in states else None for p in PLAYERS))

    def _scheme_state(self):
        return tf.nest.map_structure(tf.convert_to_tensor, self._state["scheme"])

    def ema(self) -> tf.Tensor:
        """The exponential moving average of the generator's output: [d]; of each atom, [n', d]."""
        return tf.convert_to_tensor(self._state["ema"])

    def augment_probability(self) -> float | None:
        """The augmentations' probability now; None without any."""
        if (augmentation := self.run.game.augmentation) is None:
            return None
        p = self._state.get("augment_probability")
        return float(augmentation.chance(self.step) if p is None else p)

    def answers(self, take: bool = False) -> dict[str, Measure]:
        """What the run answers: mixed strategies of the generator.

        Args:
          take: takes the snapshots out of the reservoir, which needs less memory.

        Returns:
          "last", all atoms of the output with their weights; "ema", the moving average of each,
          with those weights; "mixture", the measures of all kept outer steps, each with mass 1 / M,
          one after the other: [M n', d]. That is the last one while none is kept. Behind these the
          further averages (`averages.names`).
        """
        last = self.latest().theta
        weights = self.weights().theta
        ema = _mean_of(self.ema()[None], weights)
        others = {n: _mean_of(x[None], weights) for n, x in self._state.get("emas", {}).items()}
        kept = self.reservoir.weights(self.outer_step).theta
        snapshots = self.mixture(take)
        mixture = _mean_of(snapshots, kept) if len(snapshots) else last
        return {"last": last, "ema": ema, "mixture": mixture, **others}

    def latest(self) -> Pair[Measure]:
        """The output now, as a mixed strategy of each player."""
        return Pair(
            *(_mean_of(z[None], a) for z, a in zip(self.last(), self.weights(), strict=True))
        )

    def kept_critics(self) -> Measure | None:
        """The mixture of the discriminators of the kept outer steps, as "mixture" of `answers`.

        None without any, or where an older checkpoint kept no discriminator.
        """
        pairs, steps = self.mixture_pairs()
        if not len(steps) or not bool(tf.reduce_all(steps >= 0)):
            return None
        return _mean_of(pairs.w, self.reservoir.weights(self.outer_step).w)

    def inner_average(self) -> tf.Tensor:
        """theta_bar [d], the average of the generator's last inner chain (paper Algorithm 3).

        Of n' atoms that of each, [n', d].

        The output is (1 - beta) anchor + beta theta_bar; this is solved for theta_bar. Before the
        first step it is the output.

        Raises:
          InputError: if the algorithm has no inner chain with an average, or the checkpoint was
            written before anchors were kept.
        """
        algorithm = self.run.algorithm
        if not ALGORITHMS[algorithm].inner_average:
            choices = [name for name, a in ALGORITHMS.items() if a.inner_average]
            raise InputError(
                f"{algorithm} has no inner chain, so no theta_bar. Those that have: "
                f"{', '.join(choices)}."
            )
        theta, beta = self.last().theta, self.run.hyperparameters.theta.damping
        if beta == 1:
            return theta
        if "anchor" in self.lacking:
            raise InputError(
                "This checkpoint was written by a version that kept no anchors, which theta_bar "
                "needs for a damping (beta) other than 1. Choose theta, ema or mixture."
            )
        return (theta - (1.0 - beta) * tf.convert_to_tensor(self._state["anchor"])) / beta

    def mixture(self, take: bool = False) -> tf.Tensor:
        """The kept snapshots of the generator: [min(M, seen), d] or, of n' atoms, [.., n', d].

        There are none before the window.

        Args:
          take: leaves none behind, which needs less memory.
        """
        return self.reservoir.mixture(self.outer_step, take)

    def mixture_pairs(self) -> tuple[Pair, tf.Tensor]:
        """The kept snapshots of both players and when they were taken.

        Returns:
          Pair of [m, d] and [m, e] (of atoms [m, n', d]), row by row of the same outer step, in
          the reservoir's order, that of `mixture`; and the outer steps t-hat int64 [m], -1 where
          an older checkpoint kept no discriminator. m = min(M, seen).
        """
        return self.reservoir.pairs(self.outer_step)

    def program_text(self, stage: str = "optimized_hlo") -> str:
        """XLA's program of a call of `compile=whole`, see `whole.Calls.text`."""
        with compiling.deterministic():
            return self._whole.text(stage)

    def _end_of_call(self, m: int, t: int, until: int, due: int | None) -> tuple[int, int]:
        """Outer steps from m, t that reach `until`, or that of `due`.

        Returns:
          (The mini-batches used then, from the beginning of the run; how many outer steps.)
        """
        start = t
        while m < until and (due is None or t <= due):
            m, t = m + int(self.run.scheme.num_batches(t)), t + 1
        return m, t - start

    def _step(self, oracle, s, t, m):
        """One outer step.

        Args:
          oracle: of the call's data.
          s: the state, in which the following are read.
          t: its number.
          m: its first mini-batch.

        Returns:
          ("scheme", "anchor", "ema" after it, and where there are such "state", "emas" and
          "augment_probability"; the scheme's logs).
        """
        scheme = self.run.scheme
        states = self._of_players(s["state"]) if "state" in s else None
        asked, p = oracle.with_states(states), s.get("augment_probability")
        asked = asked if p is None else asked.with_chance(p)
        state, logs = scheme.step(asked.with_outer_step(t), s["scheme"], t, m)
        for key in self._may_be_nan:
            logs = Pair(*({**x, "finite": x["finite"] & tf.math.is_finite(x[key])} for x in logs))
        theta = scheme.output(state).theta
        used = tf.cast(scheme.num_batches(t), tf.int64)
        anchor = scheme.anchor(s["scheme"]).theta if scheme.anchor else theta
        ema, emas = s["ema"], s.get("emas", {})
        if "parents" in logs.theta:  # an atom that was reborn has its parent's past
            parents = logs.theta["parents"]
            anchor, ema = (tf.gather(x, parents) for x in (anchor, ema))
            emas = {name: tf.gather(x, parents) for name, x in emas.items()}
        if states is not None:
            states = _reborn(states, logs)
            points = (scheme.points or scheme.output)(state)
            # On the step's last mini-batch. Of what the layers ignore nothing is computed.
            states = oracle.with_states(states).states(points, m + used - 1)
        new = {
            "scheme": state,
            **({} if states is None else {"state": _named(states)}),
            "anchor": anchor,
            "ema": _toward(ema, theta, self._ema_weight(self.run.ema_decay, used, t, theta.dtype)),
        }
        if p is not None:
            moved: Any = self.run.game.augmentation
            new["augment_probability"] = moved.moved(p, logs.w["sign"], used * self.run.batch_size)
        if emas:
            weights = {
                n: self._ema_weight(d, used, t, theta.dtype) for n, d in self._decays.items()
            }
            new["emas"] = {n: _toward(x, theta, weights[n]) for n, x in emas.items()}
        return new, logs

    def _many_steps(self, until, block):
        oracle = self.run.oracle.with_batches(lambda m: self._feed.batch_at(block, m))

        def diverged_at(before, m, logs):
            return tf.where(logs["finite"], before, tf.minimum(before, m))

        def body(s):
            t, m = s["t"], s["m"]
            new, logs = self._step(oracle, s, t, m)
            return (
                {
                    **new,
                    "t": t + 1,
                    "m": m + tf.cast(self.run.scheme.num_batches(t), tf.int64),
                    "diverged_at": Pair(
                        *(diverged_at(s["diverged_at"].of(p), m, logs.of(p)) for p in PLAYERS)
                    ),
                    "sums": {
                        p: {k: s["sums"][p][k] + tf.cast(logs.of(p)[k], tf.float64) for k in SUMMED}
                        for p in PLAYERS
                    },
                    "summed_steps": s["summed_steps"] + 1,
                },
            )

        start = tf.nest.map_structure(tf.convert_to_tensor, self._state)
        # The condition reads the counter alone, so that the next steps' noise and data are
        # drawn on idle cores while this step's gradients run: half of the time at batch 64.
        # A run that has left the finite numbers goes on to the end of the call.
        (end,) = tf.while_loop(lambda s: s["m"] < until, body, (start,))
        tf.nest.map_structure(lambda variable, x: variable.assign(x), self._state, end)

    def _ema_weight(self, decay, used, t, dtype):
        """1 - decay^used: the decay is per mini-batch, so that all algorithms look back alike.

        A factor f on the half-life makes it 1 - decay^(used / f).
        """
        used = tf.cast(used, tf.float64)
        if self.run.ema_factor is not None:
            with computed_in(dtype if compiling.in_whole() else tf.float64):
                used /= tf.cast(self.run.ema_factor(t), tf.float64)
        return tf.cast(1.0 - tf.constant(decay, tf.float64) ** used, dtype)


@fused  # compiled once for all runs of the same size
def _toward(ema, theta, weight):
    return ema + weight * (theta - ema)


def _reborn(states: Pair, logs: Pair) -> Pair:
    """The states of atoms, those that were reborn with their parents'."""

    def of(player: Player):
        parents = logs.of(player).get("parents")
        state = states.of(player)
        return state if parents is None or state is None else tf.gather(state, parents)

    return Pair(*(of(p) for p in PLAYERS))


def _named(states: Pair) -> dict[str, Any]:
    return {p: s for p in PLAYERS if (s := states.of(p)) is not None}


def _mean_of(atoms: tf.Tensor, weights: tf.Tensor | None) -> Measure:
    """The mean of m measures: atoms [m n', d], weights [m n'].

    Args:
      atoms: [m, d] of points, or [m, n', d].
      weights: [m, n'], or [n'] of all of them; None of points.
    """
    m: Any = atoms.shape[0]
    equal = tf.constant(1.0 / m, atoms.dtype)
    if weights is None:
        return Measure(atoms, tf.fill([m], equal))
    a = tf.broadcast_to(weights * equal, atoms.shape[:2])
    return Measure(tf.reshape(atoms, [-1, atoms.shape[-1]]), tf.reshape(a, [-1]))


def _joined_names(tree: Any, prefix: str = "") -> Any:
    """The tree with every leaf replaced by its path, such as "scheme/theta/z"."""
    if isinstance(tree, dict):
        return {k: _joined_names(v, f"{prefix}{k}/") for k, v in tree.items()}
    if hasattr(tree, "_fields"):
        named = zip(tree._fields, tree, strict=True)
        return type(tree)(*(_joined_names(v, f"{prefix}{k}/") for k, v in named))
    if isinstance(tree, tuple):
        return tuple(_joined_names(v, f"{prefix}{i}/") for i, v in enumerate(tree))
    return prefix.rstrip("/")
