"""Laws of latents other than N(0, I): functions of a key, row by row where rows are published.

In training a mini-batch of latents is one draw of its key. A published row is a function of its own
seed (`strategies.mixed`), so there every row is drawn by itself, from a key of its own; the law is
the same, since the rows of a mini-batch are independent. Its graph names the generator of its
numbers, `philox`, also where the law leaves the choice to TensorFlow (docs/decisions/0020).
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import random_ops_util as _random

from tf_mixed_nash.errors import InputError

__all__ = ["LatentLaw"]

_tracing = threading.RLock()
_AUTO = tf.random.Algorithm.AUTO_SELECT.value


@contextlib.contextmanager
def _named() -> Iterator[None]:
    """Draws that are traced inside name their generator, philox, where they leave it to TensorFlow.

    CPUs and GPUs take philox by themselves, with the same key, so that no number is another; XLA
    does not. TensorFlow Probability passes no `alg`, so that it is asked here, where all stateless
    draws ask for theirs.
    """
    with _tracing:
        chosen = _random.get_key_counter_alg

        def philox(seed: Any, alg: Any) -> Any:
            left = alg is None or _random.convert_alg_to_int(alg) == _AUTO
            return chosen(seed, "philox" if left else alg)

        _random.get_key_counter_alg = philox
        try:
            yield
        finally:
            _random.get_key_counter_alg = chosen


class LatentLaw:
    """Independent rows [D] of a law.

    Args:
      law: a `tfp.distributions.Distribution` of event shape [D] and batch shape [], or a function
        (key, n) -> [n, D] of TensorFlow operations, whose rows are independent; key is int32[2],
        for `tf.random.stateless_*`. A `tf.function` that was traced before has chosen its generator
        already; to be published it must name it, alg="philox".

    Attributes:
      dim: D.
      name: for messages and manifests.

    Raises:
      InputError: for anything else, or a function that does not depend on its key alone.
    """

    def __init__(self, law: Any):
        shape: Any = getattr(law, "event_shape", None)
        if shape is not None and hasattr(law, "sample"):
            if tuple(law.batch_shape) or len(shape) != 1 or not shape[0]:
                raise InputError(
                    f"The latents' distribution {law.name} has event shape {list(shape)} and batch "
                    f"shape {list(law.batch_shape)}; it must be one law of vectors, [D] and []. "
                    "tfp.distributions.Independent or Sample makes one of several."
                )
            self.name = str(law.name)
            self._draw: Callable[..., Any] = lambda key, num: law.sample(num, seed=key)
        elif callable(law):
            self.name = getattr(law, "__name__", None) or type(law).__name__
            self._draw = law
        else:
            raise InputError(
                "Latents must be a tfp.distributions.Distribution of event shape [D], or a "
                f"function (key, n) -> [n, D]; got {type(law).__name__}."
            )
        self.dim = self._checked()

    def _checked(self) -> int:
        key, other = tf.constant([1, 2], tf.int32), tf.constant([1, 3], tf.int32)
        try:
            with _named():
                first, again, third, one = (
                    tf.convert_to_tensor(self._draw(k, n)).numpy()
                    for k, n in ((key, 4), (key, 4), (other, 4), (key, 1))
                )
        except Exception as error:  # a user's code
            raise InputError(
                f"The latents {self.name} could not be drawn for a key int32[2] and n = 4: "
                f"{error!r}."
            ) from error
        form = first.ndim == 2 and first.shape[0] == 4 and one.shape == (1, *first.shape[1:])
        if not form or not np.issubdtype(first.dtype, np.floating):
            raise InputError(
                f"The latents {self.name} must be float [n, D] for every n; for n = 4 they are "
                f"{first.dtype.name} {list(first.shape)}, for n = 1 {list(one.shape)}."
            )
        if not np.isfinite(first).all() or (first != again).any() or (first == third).all():
            raise InputError(
                f"The latents {self.name} must be finite numbers, the same for the same key and "
                "others for another: draw them with tf.random.stateless_* and the key as seed."
            )
        return int(first.shape[1])

    def __call__(self, key: tf.Tensor, num: int, dtype: tf.DType) -> tf.Tensor:
        """num latents [num, D] of a key int32[2]."""
        latents = tf.convert_to_tensor(self._draw(key, num))
        return tf.ensure_shape(tf.cast(latents, dtype), [num, self.dim])

    def of_rows(self, keys: tf.Tensor) -> tf.Tensor:
        """A latent for each row of keys, int32 [n, 2], a function of that row alone: [n, D]."""
        return self._rows(keys)

    @functools.cached_property
    def _rows(self):
        def rows(keys):
            spec = tf.TensorSpec([self.dim], tf.float32)
            with _named():
                return tf.map_fn(
                    lambda key: self(key, 1, tf.float32)[0], keys, fn_output_signature=spec
                )

        return tf.function(rows, [tf.TensorSpec([None, 2], tf.int32)], autograph=False)
