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
    """The gradient of sum loss(f of the first rows) + penalty(grad_x f of a span of rows).

    Args:
      chain: with one logit.
      leaves: of one critic, or [m, ...] of m.
      x: rows [n, d] or [m or 1, n, d].
      num: how many rows, the first ones, the loss reads.
      loss: logits [num, 1] or [m, num, 1] -> a scalar, or [m].
      span: first and last + 1 of the rows whose slopes the penalty reads.
      penalty: slopes u [k, d] or [m, k, d] -> as the loss.
    """
    axis = x.shape.rank - 2
    passed = chain.passed(leaves, x)
    slopes = chain.slopes(leaves, passed)
    value, (c,) = _derived(loss, passed.y, 0, num, axis)
    of_loss = [tf.cast(c, h.dtype) * h for h in passed.rows(0, num).inputs]
    if penalty is None or span is None:
        g = chain.gradient(leaves, of_loss, _cut(slopes, 0, num, axis), c)
        return Found(g, value, None, passed, slopes)
    some = passed.rows(*span)
    u, back = chain.of_inputs(leaves, some.x, _cut(slopes[:1], *span, axis)[0])
    far, (v,) = _derived(penalty, u, 0, u.shape[axis], axis)
    tangents = chain.tangents(leaves, some, back(v))
    rows = [_joined(*pair, num, span, axis) for pair in zip(of_loss, tangents, strict=True)]
    begin, end = min(0, span[0]), max(num, span[1])
    g = chain.gradient(leaves, rows, _cut(slopes, begin, end, axis), c)
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


def _derived(function, x, begin, end, axis) -> tuple[Any, Any]:
    """function of some rows of x, and the derivative of its sum."""
    rows = _cut([x], begin, end, axis)[0]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(rows)
        value = function(rows)
        total = tf.reduce_sum(value)
    zero = tf.UnconnectedGradients.ZERO
    return value, tape.gradient(total, [rows], unconnected_gradients=zero)


def _cut(tensors, begin, end, axis):
    if begin == 0 and end == tensors[0].shape[axis]:
        return list(tensors)
    return [x[:, begin:end] if axis else x[begin:end] for x in tensors]


def _joined(of_loss, tangents, num, span, axis):
    """Rows of the loss, from 0 on, plus those of the penalty, in their place."""
    begin, end = span
    if begin == num:
        return tf.concat([*_alike(of_loss, tangents)], axis=axis)
    if span == (0, num):
        return of_loss + tangents
    length = max(num, end)
    pads = [[0, 0]] * axis
    ours = tf.pad(of_loss, [*pads, [0, length - num], [0, 0]])
    return ours + tf.pad(tangents, [*pads, [begin, length - end], [0, 0]])


def _alike(a, b):
    """Both with the leading axis of the larger one."""
    if a.shape.rank == 2 or a.shape[0] == b.shape[0]:
        return a, b
    many = max(a.shape[0], b.shape[0])
    return (tf.broadcast_to(x, [many, *x.shape[1:]]) for x in (a, b))
