"""The sample-based algorithms (paper section 4.1): mixed strategies kept as samples.

"Algorithms 4 and 5" are in the paper's missing appendix; these are derived from section 4.1 and
Algorithms 1 and 2 [D]. A prox step MD(start; past) runs K_t steps of n' Langevin chains on the
sum of the losses against every past strategy of the opponent (`prox.langevin_atoms`), so that
its samples follow the *unrolled* mirror-descent iterate.

The answer is (mu_t, nu_t) at a uniformly random t. An output here is one sample of (mu_t, nu_t),
of a uniformly random chain: a uniform sample over t of the outputs is that answer.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.methods.histories import History, Memory
from tf_mixed_nash.methods.prox import Move, Prox
from tf_mixed_nash.methods.schemes import Scheme, most
from tf_mixed_nash.types import Pair, Player, other

__all__ = ["sample_md", "sample_mp"]

# What of an outer step's history key draws what (0-2 draw the opponents: `histories`).
_KEEP, _CHOOSE = 3, 4


class Chains(NamedTuple):
    """One player of sample-based mirror descent.

    Attributes:
      z: [n', d], the samples of mu_t (or nu_t), where the next chains start.
      sampler: the chains' sampler state.
      history: the samples of s <= t.
      chosen: [d], a row of z: the output.
    """

    z: tf.Tensor
    sampler: Any
    history: History
    chosen: tf.Tensor


class ProxChains(NamedTuple):
    """One player of sample-based Mirror-Prox.

    Attributes:
      tilde: [n', d], the samples of the anchor.
      z: [n', d], those of the intermediate strategy.
      tilde_sampler: the anchor chains' sampler state.
      sampler: the intermediate chains'.
      history: the intermediates' samples.
      chosen: [d], a row of z: the output.
    """

    tilde: tf.Tensor
    z: tf.Tensor
    tilde_sampler: Any
    sampler: Any
    history: History
    chosen: tf.Tensor


def sample_md(prox: Pair[Prox], memory: Pair[Memory], num_chains: Pair[int]) -> Scheme:
    """Sample-based entropic mirror descent (paper section 4.1, "Algorithm 4" [D]).

        theta^(1..n') ~ nu_{t+1} = exp(eta sum_{s<=t} G^+ mu_s)          both by K_t steps
        w^(1..n')     ~ mu_{t+1} = exp(eta sum_{s<=t} (g - G nu_s))      from the last samples

    Args:
      prox: `prox.langevin_atoms` of each player.
      memory: of each player's own samples (`histories.reservoir` or `histories.window`).
      num_chains: n' of each player. `Scheme.init` also takes [n', d]: a sample of mu_1 and nu_1;
        from one vector [d] all chains start there.
    """

    def init(theta, w):
        def start(player: Player, z):
            z = _chains(z, num_chains.of(player))
            keep = memory.of(player)
            history = keep.push(keep.empty(z), z, tf.zeros([2], tf.int32))
            return Chains(z, prox.of(player).init(z), history, z[0])

        return Pair(start("theta", theta), start("w", w))

    def step(oracle, s, t, m):
        def MD(player: Player) -> tuple[Chains, dict]:
            mine, opponent = s.of(player), other(player)
            past = memory.of(opponent).past(s.of(opponent).history)
            move = prox.of(player).step(oracle, player, mine.z, mine.z, past, mine.sampler, t, m)
            key = oracle.history_key(player, m)
            history = memory.of(player).push(mine.history, move.z, rng.fold_in(key, _KEEP))
            return Chains(move.z, move.state, history, _any_row(move.z, key)), move.logs

        (w, w_logs), (theta, theta_logs) = MD("w"), MD("theta")
        return Pair(theta, w), Pair(theta_logs, w_logs)

    return Scheme(
        init,
        step,
        output=lambda s: Pair(s.theta.chosen, s.w.chosen),
        num_batches=lambda t: _most(prox, t),
        points=lambda s: Pair(s.theta.z, s.w.z),
    )


def sample_mp(prox: Pair[Prox], memory: Pair[Memory], num_chains: Pair[int]) -> Scheme:
    """Sample-based entropic Mirror-Prox (paper section 4.1, "Algorithm 5" [D]).

        theta^(1..n')       ~ nu_t         = exp(eta (sum_{s<t} G^+ mu_s + G^+ mu_tilde_t))
        theta_tilde^(1..n') ~ nu_tilde_{t+1} = exp(eta sum_{s<=t} G^+ mu_s)

    and w as in `sample_md`: Algorithm 2, unrolled. There are two sets of chains, each of which
    starts at its own last samples; the intermediates (mu_t, nu_t) are remembered and put out.

    Args:
      prox: `prox.langevin_atoms` of each player.
      memory: of each player's intermediates.
      num_chains: n' of each player; `Scheme.init` is as in `sample_md`, for the first anchors.
    """

    def init(theta, w):
        def start(player: Player, z):
            z = _chains(z, num_chains.of(player))
            state = prox.of(player).init(z)
            return ProxChains(z, z, state, state, memory.of(player).empty(z), z[0])

        return Pair(start("theta", theta), start("w", w))

    def step(oracle, s, t, m):
        def intermediate(player: Player) -> Move:
            mine, rival = s.of(player), s.of(other(player))
            past = memory.of(other(player)).past(rival.history, extra=rival.tilde)
            return prox.of(player).step(oracle, player, mine.z, mine.z, past, mine.sampler, t, m)

        def remember(player: Player) -> History:
            key = rng.fold_in(oracle.history_key(player, m), _KEEP)
            return memory.of(player).push(s.of(player).history, middle.of(player).z, key)

        def anchor(player: Player) -> Move:
            mine = s.of(player)
            past = memory.of(other(player)).past(histories.of(other(player)))
            return prox.of(player).step(
                oracle, player, mine.tilde, mine.tilde, past, mine.tilde_sampler, t, m + half(t)
            )

        middle = Pair(intermediate("theta"), intermediate("w"))
        histories = Pair(remember("theta"), remember("w"))
        end = Pair(anchor("theta"), anchor("w"))

        def new(player: Player) -> ProxChains:
            z, state, _ = middle.of(player)
            tilde, tilde_state, _ = end.of(player)
            chosen = _any_row(z, oracle.history_key(player, m))
            return ProxChains(tilde, z, tilde_state, state, histories.of(player), chosen)

        def logs(player: Player) -> dict:
            first, last = middle.of(player).logs, end.of(player).logs
            return {**last, "finite": first["finite"] & last["finite"]}

        return Pair(new("theta"), new("w")), Pair(logs("theta"), logs("w"))

    def half(t):
        return _most(prox, t)

    return Scheme(
        init,
        step,
        output=lambda s: Pair(s.theta.chosen, s.w.chosen),
        num_batches=lambda t: 2 * half(t),
        points=lambda s: Pair(s.theta.z, s.w.z),
    )


def _chains(z, num_chains: int) -> tf.Tensor:
    """[n', d]: the rows as given, or n' copies of one vector."""
    if z.shape.rank == 1:
        return tf.tile(z[None], [num_chains, 1])
    if z.shape[0] != num_chains:
        raise InputError(
            f"The chains start at {num_chains} rows (num_chains, n') or at one vector, got shape "
            f"{tuple(z.shape)}."
        )
    return z


def _any_row(z, key) -> tf.Tensor:
    """A uniformly random row of z."""
    return tf.gather(z, rng.integer(key, [], z.shape[0], at=_CHOOSE))


def _most(prox: Pair[Prox], t):
    """The mini-batches of one phase: the larger K_t of the players."""
    return most(prox.theta.num_batches(t), prox.w.num_batches(t))
