"""Fields of networks that are chains (`models.chain`): every row's slope once, for all who read it.

The discriminator's loss, its penalties and the generator's loss differentiate the same logits. Here
their rows pass the chain together, and so do their slopes:

- the loss weights row i of h by c_i = d loss / d f_i,
- a penalty of the slopes u = grad_x f adds the tangents of d penalty / d u,
- the generator's samples get c_i u_i.

Two to four times the rows in a third of the products (docs/decisions/0032). The numbers are those
of `GanGame`'s general fields but for rounding, which tests compare.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tf_mixed_nash.models.chain import Chain, Passed

__all__ = ["Found", "critic", "generator"]


class Found(NamedTuple):
    """A field and what was met on the way.

    Attributes:
      g: like the leaves.
      loss: as `critic` got it.
      penalty: likewise; None without one.
      passed: the chain at all rows.
      slopes: d_1 to d_L of all rows, for c = 1.
    """

    g: list[tf.Tensor]
    loss: Any
    penalty: Any
    passed: Passed
    slopes: list[tf.Tensor]


def critic(
    chain: Chain,
    leaves: Sequence[tf.Tensor],
    x: tf.Tensor,
    num: int,
    loss: Callable[[tf.Tensor], Any],
    span: tuple[int, int] | None = None,
    penalty: Callable[[tf.Tensor], Any] | None = None,
) -> Found:
    """The gradient of loss(f of the first rows) + penalty(grad_x f of a span of rows).

    Args:
      chain: with one logit.
      leaves: of the critic.
      x: rows [n, d].
      num: how many rows, the first ones, the loss reads.
      loss: logits [num, 1] -> a scalar.
      span: first and last + 1 of the rows whose slopes the penalty reads, within or behind those of
        the loss, with no row between.
      penalty: slopes u [k, d] -> a scalar.
    """
    passed = chain.passed(leaves, x)
    slopes = chain.slopes(leaves, passed)
    value, c = _derived(loss, passed.y[:num])
    rows = [tf.cast(c, h.dtype) * h[:num] for h in passed.inputs]
    if penalty is None or span is None:
        g = chain.gradient(leaves, rows, [d[:num] for d in slopes], c)
        return Found(g, value, None, passed, slopes)
    begin, end = span
    some = passed.rows(begin, end)
    u, back = chain.of_inputs(leaves, some.x, slopes[0][begin:end])
    far, v = _derived(penalty, u)
    tangents = chain.tangents(leaves, some, back(v))
    rows = [_joined(h, a, begin) for h, a in zip(rows, tangents, strict=True)]
    g = chain.gradient(leaves, rows, [d[: max(num, end)] for d in slopes], c)
    return Found(g, value, far, passed, slopes)


def generator(
    chain: Chain, leaves: Sequence[tf.Tensor], passed: Passed, c: tf.Tensor
) -> list[tf.Tensor]:
    """The gradient of sum_i c_i . f(x_i), like the leaves.

    Args:
      chain: of the generator.
      leaves: of it.
      passed: its rows.
      c: of the samples' shape.
    """
    return chain.gradient(leaves, passed.inputs, chain.slopes(leaves, passed, c))


def _derived(function, x) -> tuple[Any, Any]:
    """(function(x), its derivative)."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        value = function(x)
    return value, tape.gradient(value, x, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def _joined(of_loss, tangents, begin):
    """Rows of the loss, from 0 on, plus those of the penalty, from `begin` on."""
    num, end = of_loss.shape[0], begin + tangents.shape[0]
    if begin == num:
        return tf.concat([of_loss, tangents], axis=0)
    if (begin, end) == (0, num):
        return of_loss + tangents
    length = max(num, end)
    ours = tf.pad(of_loss, [[0, length - num], [0, 0]])
    return ours + tf.pad(tangents, [[begin, length - end], [0, 0]])
