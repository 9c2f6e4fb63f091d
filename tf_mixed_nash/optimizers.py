"""The paper's samplers as Keras optimizers, for any model, loss and training loop.

`Langevin` is `methods.samplers.langevin` with Keras's verbs: it works in `model.compile`, in a
custom `train_step`, in `tf.function` and under XLA, and a saved one goes on exactly.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

import keras
import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.compile import fused
from tf_mixed_nash.errors import InputError, unknown

__all__ = ["Langevin"]

_PRECONDITIONERS = ("none", "rms")
_PURPOSE = zlib.crc32(b"optimizers/langevin")


@keras.saving.register_keras_serializable(package="tf_mixed_nash")
class Langevin(keras.optimizers.Optimizer):
    """Stochastic gradient Langevin dynamics, plain (SGLD) or preconditioned (pSGLD).

    At iteration t = 0, 1, 2, ..., with g the gradient of the loss h and lambda the weight decay:

        g <- g + lambda z
        z <- z - gamma_t P g + sqrt(2 gamma_t eps_t P) xi,    xi ~ N(0, I)

    with P = 1, or P = 1 / (sqrt(V) + stability) and V <- a V + (1 - a) g^2 (Welling & Teh 2011;
    Li et al. 2016, whose Gamma term is dropped). The parameters of a long run are samples of the
    density proportional to exp(-(h(z) + lambda |z|^2 / 2) / eps), approximately for a finite gamma:
    lambda is a Gaussian prior of variance eps / lambda. With temperature 0 it is SGD, or RMSProp.
    If h is a mean over N data whose sum is wanted, as in a Bayesian posterior, eps = 1 / N.

    The noise xi of a variable is a function of (seed, t, the variable's place in the list that the
    optimizer was built with) and nothing else, so that a saved and loaded optimizer goes on
    exactly, and every replica of `tf.distribute` draws the same. It is drawn in float32 and cast.
    Variables of 16 bits are updated in float32 and rounded; V is kept in float32. A sparse
    gradient, of an Embedding, is taken as a dense one: every row has its noise, as it has its law.

    Args:
      learning_rate: gamma: a number of at least 0, a `keras.optimizers.schedules` schedule, or a
        function of no argument.
      temperature: eps: a number of at least 0, or a schedule of t.
      preconditioner: "none" (SGLD) or "rms" (pSGLD).
      decay: a, in [0, 1).
      stability: at least 0, added to the root.
      initial: V before the first step, at least 0; RMSProp's is 0, TensorFlow Probability's 1.
      bias_correction: divides V by 1 - a^(t + 1), as Adam does, which is meant for initial = 0.
      weight_decay: lambda, at least 0; part of the gradient and so of V, not AdamW's. See
        `exclude_from_weight_decay`, to be called again after loading, as with Keras's own.
      seed: of the noise, in [0, 2**63).
      name: of the optimizer.
      **kwargs: of `keras.optimizers.Optimizer`: clipnorm, global_clipnorm, clipvalue, use_ema,
        ema_momentum, loss_scale_factor, gradient_accumulation_steps. They act on the gradient of h,
        before the prior.

    Raises:
      InputError: for a value out of its range.

    Example, a Gaussian posterior whose mean is 2 and whose variance is 1 / 4:

    >>> import keras
    >>> import tensorflow as tf
    >>> from tf_mixed_nash.optimizers import Langevin
    >>> z = keras.Variable(tf.zeros([1000]))  # a thousand chains
    >>> optimizer = Langevin(0.05, temperature=1.0, seed=0)
    >>> @tf.function
    ... def step():
    ...     with tf.GradientTape() as tape:
    ...         loss = tf.reduce_sum(2.0 * (z.value - 2.0) ** 2)
    ...     optimizer.apply([tape.gradient(loss, z.value)], [z])
    >>> for _ in range(100):
    ...     step()
    >>> bool(abs(tf.reduce_mean(z.value) - 2.0) < 0.05)
    True
    >>> bool(abs(tf.math.reduce_variance(z.value) - 0.25) < 0.06)
    True
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        temperature: Any = 1e-4,
        preconditioner: str = "none",
        decay: float = 0.99,
        stability: float = 1e-8,
        initial: float = 0.0,
        bias_correction: bool = False,
        weight_decay: float | None = None,
        seed: int = 0,
        name: str = "langevin",
        **kwargs,
    ):
        _number("learning_rate", learning_rate, "at least 0", lambda v: v >= 0, scheduled=True)
        _number("temperature", temperature, "at least 0", lambda v: v >= 0, scheduled=True)
        _number("decay", decay, "in [0, 1)", lambda v: 0 <= v < 1)
        _number("stability", stability, "at least 0", lambda v: v >= 0)
        _number("initial", initial, "at least 0", lambda v: v >= 0)
        if weight_decay is not None:
            _number("weight_decay", weight_decay, "at least 0, or None", lambda v: v >= 0)
        if preconditioner not in _PRECONDITIONERS:
            raise unknown("preconditioner", preconditioner, _PRECONDITIONERS)
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise InputError(f"seed must be an integer in [0, 2**63), got {seed!r}.")
        if isinstance(learning_rate, int):
            learning_rate = float(learning_rate)
        super().__init__(learning_rate, weight_decay=weight_decay, name=name, **kwargs)
        self.temperature = temperature
        self.preconditioner = preconditioner
        self.decay = decay
        self.stability = stability
        self.initial = initial
        self.bias_correction = bias_correction
        self.seed = seed
        self._V: list[Any] = []

    def build(self, variables) -> None:
        """Makes V for each variable, where there is a preconditioner.

        Args:
          variables: the trainable ones, in the order that decides their noise.
        """
        if self.built:
            return
        super().build(variables)
        if self.preconditioner == "rms":
            start: Any = keras.initializers.Constant(self.initial)
            self._V = [
                self.add_variable(
                    shape=v.shape,
                    initializer=start,
                    dtype=_computed_in(v.dtype).name,
                    name=f"{getattr(v, 'path', v.name).replace('/', '_').replace(':', '_')}_V",
                )
                for v in variables
            ]

    def update_step(self, gradient, variable, learning_rate) -> None:
        """One step of one variable. Keras calls it.

        Args:
          gradient: of the loss, like the variable, or `tf.IndexedSlices`.
          variable: any shape; float16, bfloat16, float32 or float64.
          learning_rate: gamma_t.
        """
        index = self._get_variable_index(variable)
        dtype = _computed_in(variable.dtype)
        z = tf.cast(tf.convert_to_tensor(variable), dtype)
        g = tf.cast(tf.convert_to_tensor(gradient), dtype)
        gamma, eps = tf.cast(learning_rate, dtype), self._temperature(dtype)
        if self.weight_decay is not None and self._use_weight_decay(variable):
            g += tf.constant(self.weight_decay, dtype) * z
        P = self._preconditioner(index, g)
        displacement = -gamma * P * g
        if eps is not None:
            xi = self.noise(index, self.iterations, z.shape, dtype)
            displacement += tf.sqrt(2.0 * gamma * eps * P) * xi
        self.assign(variable, tf.cast(z + displacement, variable.dtype))

    def noise(self, index: int, iteration: Any, shape: Any, dtype: Any = "float32") -> tf.Tensor:
        """xi ~ N(0, I), that of a variable at an iteration.

        Args:
          index: the variable's place in the list that the optimizer was built with.
          iteration: t = 0, 1, 2, ..., an integer or an integer tensor.
          shape: of the variable.
          dtype: floating.

        Returns:
          A tensor of this shape and dtype, of float32 draws.
        """
        low, high = self.seed & 0xFFFFFFFF, self.seed >> 32
        shape = tf.TensorShape(shape)
        t = tf.cast(tf.convert_to_tensor(iteration), tf.int64)
        # Integers only, so that the key is the same in a plain graph, under XLA and on a GPU.
        words = tf.bitcast(t, tf.uint32)  # the low half first
        root = (tf.constant(low, tf.uint32), tf.constant(high, tf.uint32))
        place = tf.constant([index], tf.uint32)
        key = rng.threefry(root, tf.constant([_PURPOSE], tf.uint32), place, rounds=20)
        key = rng.threefry((key[0][0], key[1][0]), words[:1], words[1:], rounds=20)
        normals = _normals(math.prod(shape.as_list()))(tf.concat(key, axis=0))
        return tf.cast(tf.reshape(normals, shape), dtype)

    def get_config(self) -> dict[str, Any]:
        """See `keras.optimizers.Optimizer.get_config`: all arguments of the constructor."""
        own = {
            "temperature": keras.saving.serialize_keras_object(self.temperature),
            "preconditioner": self.preconditioner,
            "decay": self.decay,
            "stability": self.stability,
            "initial": self.initial,
            "bias_correction": self.bias_correction,
            "seed": self.seed,
        }
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config, custom_objects=None) -> Langevin:
        """The optimizer of a config of `get_config`."""
        config = dict(config)
        if isinstance(config.get("temperature"), dict):
            config["temperature"] = keras.saving.deserialize_keras_object(
                config["temperature"], custom_objects=custom_objects
            )
        return super().from_config(config, custom_objects=custom_objects)

    def _apply_weight_decay(self, variables) -> None:
        """Nothing: Keras would shrink the variables beside the gradient (AdamW)."""

    def _temperature(self, dtype: tf.DType) -> tf.Tensor | None:
        """eps_t; None if it is 0 at every t, and there is no noise to draw."""
        schedule: Any = self.temperature
        if callable(schedule):
            eps: Any = schedule(self.iterations)
            return tf.cast(eps, dtype)
        return tf.constant(self.temperature, dtype) if self.temperature else None

    def _preconditioner(self, index: int, g: tf.Tensor) -> Any:
        """P at the gradient g, after V has taken it in."""
        if not self._V:
            return 1.0
        a, kept = self.decay, self._V[index]
        V = a * tf.convert_to_tensor(kept) + (1.0 - a) * g**2
        self.assign(kept, V)
        if self.bias_correction:
            count = tf.cast(self.iterations, tf.float64) + 1.0
            V /= tf.cast(1.0 - tf.constant(a, tf.float64) ** count, g.dtype)
        return 1.0 / (tf.sqrt(V) + self.stability)


def _number(name: str, value: Any, what: str, holds, scheduled: bool = False) -> None:
    if scheduled and callable(value):
        return
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (is_number and math.isfinite(value) and holds(value)):
        choices = " or a schedule" if scheduled else ""
        raise InputError(f"{name} must be a number {what}{choices}, got {value!r}.")


def _computed_in(dtype: Any) -> tf.DType:
    """Of the update: a step is smaller than what 16 bits resolve."""
    dtype = tf.as_dtype(dtype)
    return tf.float32 if dtype in (tf.float16, tf.bfloat16) else dtype


_DRAWS: dict[int, Any] = {}


def _normals(num: int):
    """key uint32 [2] -> N(0, I) [num], float32: one compiled function for each length."""
    if num not in _DRAWS:
        count = -(-num // 2048) * 1024  # see `rng.normal`

        def draw(key):
            counter = tf.bitcast(tf.range(count, dtype=tf.int32), tf.uint32)
            words = rng.threefry(key, counter, tf.zeros_like(counter))
            pairs = tf.stack(rng.normal_pair_from_bits(*words), axis=-1)
            return tf.slice(tf.reshape(pairs, [-1]), [0], [num])

        _DRAWS[num] = fused(draw)
    return _DRAWS[num]
