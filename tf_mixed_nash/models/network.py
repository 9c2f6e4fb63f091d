"""A Keras model seen as a function of one parameter vector."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.models.cloning import cloned, is_graph
from tf_mixed_nash.models.fourier import FourierFeatures
from tf_mixed_nash.models.roles import CONSTANT, SEED, STATE, STATISTIC, layers_of, roles_of

__all__ = ["FrozenNetwork", "Network"]

# Updates after which a state that is not carried counts as settled. The spectral norm that so many
# power iterations find is short by less than one part in a thousand, whatever the gap.
_SETTLING = 256


class _Packing:
    """Tensors of given shapes as one vector, padded to whole groups of 256 entries.

    XLA's loops over a vector of odd length take twice as long (docs/decisions/0003).
    """

    ALIGNMENT = 256

    def __init__(self, shapes: Sequence[tuple[int, ...]], alignment: int = ALIGNMENT):
        self.shapes = list(shapes)
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.offsets = [sum(self.sizes[:i]) for i in range(len(self.sizes))]
        self.used = sum(self.sizes)
        self.dim = -(-self.used // alignment) * alignment

    def pack(self, leaves: Sequence[Any]) -> tf.Tensor:
        many = list(leaves[0].shape)[: len(leaves[0].shape) - len(self.shapes[0])]
        padding = tf.zeros([*many, self.dim - self.used], leaves[0].dtype)
        return tf.concat([*(tf.reshape(leaf, [*many, -1]) for leaf in leaves), padding], axis=-1)

    def unpack(self, z: tf.Tensor) -> list[tf.Tensor]:
        many: list[Any] = z.shape[:-1].as_list()
        return [
            tf.reshape(tf.slice(z, [*[0] * len(many), offset], [*many, size]), [*many, *shape])
            for offset, size, shape in zip(self.offsets, self.sizes, self.shapes, strict=True)
        ]


def _dense(layer, leaves: list[tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    """activation(x W + b), of m layers: x [m or 1, n, in], W [m, in, out], b [m, out]."""
    x = tf.matmul(x, leaves[0])
    x = x + leaves[1][:, None] if layer.use_bias else x
    return layer.activation(x)


def _function(layer, leaves: list[tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    return layer.call(x)


def _flatten(layer, leaves: list[tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    return tf.reshape(x, [*x.shape[:2], -1])


# What a layer of a class is, on m networks at once: see `Network.apply_many`.
_LAYERS: dict[type, Callable[..., Any]] = {
    keras.layers.Dense: _dense,
    keras.layers.Activation: _function,
    keras.layers.ReLU: _function,
    keras.layers.LeakyReLU: _function,
    keras.layers.Flatten: _flatten,
    FourierFeatures: _function,
}


class _Called(NamedTuple):
    """Of one call of the model: its output, and what its variables hold after it."""

    output: Any
    leaves: list[Any]
    values: list[Any]


class Network:
    """f(z, x): a Keras model whose trainable parameters are one vector z in R^d.

    The mathematics moves vectors; Keras gives the architecture. The model's own variables
    hold only the initialisation and are never written. Weights of layers that are not trainable
    are constants, those of the model when the network was made.

    Batch normalisation normalises by the statistics of the batch at hand, always: there are
    no moving statistics in training, so that no state is lost and none lags behind averaged
    parameters. For samples that do not depend on their batch, `calibrated` measures the
    statistics of a parameter vector on given inputs, and `frozen` uses them
    (docs/decisions/0012).

    Layers that draw random numbers (Dropout, GaussianNoise, augmentation) draw a function of the
    key of a call. Layers that keep a vector from call to call (SpectralNormalization) read it from
    a call's state, and `update` gives the next one (docs/decisions/0021).

    Args:
      model: built, with float weights of one type.
      inputs: what makes of a packed tensor [n, ...] the structure that the model takes
        (`models.Inputs`, which `models.adapters` makes); None: the model takes the tensor.

    Raises:
      InputError: if the model is not built, or has a layer or a weight that cannot be carried.

    Attributes:
      model: the Keras model (built).
      num_parameters: how many entries of z the model reads.
      num_statistics: how many numbers its normalisation layers measure; 0 without them.
      num_state: S, how many numbers its layers keep from call to call; 0 without any.
      random: whether its layers draw random numbers in training.
      mixes_rows: whether in training a row of the output depends on the other rows of the batch.
      dim: d, the length of z: num_parameters, padded to a multiple of 256.
      dtype: of z, whatever precision the layers compute in.
      compute_dtype: that precision; of several, float16 if it is among them.
      batched: whether `apply_many` is one product per layer: a chain of dense layers and functions.

    Example:
      >>> network = Network(keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)]))
      >>> z = network.initial()
      >>> network.num_parameters, z.shape.as_list()
      (9, [256])
      >>> network(z, tf.zeros([5, 2])).shape.as_list()
      [5, 3]
    """

    ALIGNMENT = _Packing.ALIGNMENT

    def __init__(self, model: keras.Model, inputs: Callable[[tf.Tensor], Any] | None = None):
        if not isinstance(model, keras.Model):
            raise InputError(f"A network is made of a keras.Model, got {type(model).__name__}.")
        if not model.built:
            raise InputError(
                f"{model.name!r} is not built, so that it has no weights yet. Begin it with a "
                "keras.Input, or call it once on an example."
            )
        self.model = model
        self._inputs = inputs
        self._roles = roles_of(model, self._example)
        weights = model.trainable_variables
        self.dtype = tf.as_dtype(weights[0].dtype if weights else model.variable_dtype)
        layers = layers_of(model)
        halves = any(layer.compute_dtype == "float16" for layer in layers)
        self.compute_dtype = tf.as_dtype(
            "float16" if halves else (model.layers or [model])[-1].compute_dtype
        )
        # Without weights there is a vector all the same, which nobody reads.
        shapes = [tuple(v.shape) for v in weights] or [(self.ALIGNMENT,)]
        self._packing = _Packing(shapes)
        self._state = _Packing([tuple(v.shape) for v in self._of(STATE)], alignment=1)
        # What a vector of `frozen` ends with.
        self._tail = _Packing([tuple(v.shape) for v in self._of(STATISTIC, STATE)])
        with tf.init_scope():
            self._constants = {id(v): tf.constant(v.numpy()) for v in self._of(CONSTANT)}
            self._start = self._where_it_settles()
        self.shapes, self.sizes = self._packing.shapes, self._packing.sizes
        self.offsets = self._packing.offsets
        self.dim = self._packing.dim
        self.num_parameters = self._packing.used if weights else 0
        self.num_statistics = sum(math.prod(v.shape) for v in self._of(STATISTIC))
        self.num_state = self._state.used
        self.random = SEED in self._roles.kinds
        self.mixes_rows = self.num_statistics > 0 or (
            not self._roles.known and self.sees_other_rows(training=True)
        )
        self.batched = (
            isinstance(model, keras.Sequential)
            and getattr(inputs, "identity", inputs is None)
            and len(weights) == len(model.variables)
            and all(type(layer) in _LAYERS for layer in model.layers)
        )

    # What the model reads and gives.

    @property
    def takes_no_rows(self) -> bool:
        """Whether inputs [0, ...] give [0, ...] for certain.

        Of perceptrons alone: TensorFlow's convolutions on CPUs give no rows the channels of their
        input (2.21), which a residual model cannot add up.
        """
        return self.batched

    @functools.cached_property
    def input_shape(self) -> tuple[int | None, ...]:
        """Of one row of the packed input.

        Raises:
          InputError: if the model does not say it.
        """
        shape: Any = getattr(self._inputs, "shape", None)
        if shape is not None:
            return tuple(shape)
        if is_graph(self.model):
            shape = self.model.input_shape
        else:
            shape = (self.model.get_build_config() or {}).get("input_shape")
        if not isinstance(shape, list | tuple) or not all(
            n is None or isinstance(n, int) for n in shape
        ):
            raise InputError(
                f"{self.model.name!r} does not say the shape of its one input. Begin it with "
                "a keras.Input, call it once on an example, or give the network "
                "`inputs` of tf_mixed_nash.models.adapters."
            )
        return tuple(shape[1:])

    @functools.cached_property
    def output_shape(self) -> tuple[int | None, ...]:
        """Of one row of the output.

        Raises:
          InputError: if the model gives anything but one tensor.
        """
        shape = self.model.output_shape if is_graph(self.model) else (None,)
        if isinstance(shape, tuple) and None not in shape[1:] and len(shape) > 1:
            return shape[1:]
        call = tf.function(lambda: self(self.initial(), self._rows(2)), autograph=False)
        return tuple(call.get_concrete_function().output_shapes[1:])

    def sees_other_rows(self, training: bool) -> bool:
        """Whether the first row of an output changes with the other three rows of an input."""
        with tf.init_scope():
            key = tf.constant([1, 2], tf.int32)
            x = rng.normal(key, self._rows(4).shape, self.dtype)
            values = self._values(0.0, key if self.random else None, self.initial_state())
            leaves = self.unflatten(self.initial())
            one, other = (
                self._call(leaves, values, y, training).output[0].numpy()
                for y in (x, tf.concat([x[:1], 1.0 - 2.0 * x[1:]], axis=0))
            )
        return not np.allclose(one, other, rtol=1e-4, atol=1e-5, equal_nan=True)

    def _rows(self, num: int) -> tf.Tensor:
        """Packed inputs of zeros, where it does not matter which."""
        return tf.zeros([num, *(n or 8 for n in self.input_shape)], self.dtype)

    def _example(self):
        x = tf.zeros([2, *(n or 8 for n in self.input_shape)])
        return self._arguments(x)

    def _arguments(self, x) -> tuple[list[Any], dict[str, Any]]:
        given = x if self._inputs is None else self._inputs(x)
        return ([], given.named) if hasattr(given, "named") else ([given], {})

    # Vectors.

    @property
    def constants(self) -> list[np.ndarray]:
        """The weights that are not trained and that no call writes, in the model's order."""
        return [value.numpy() for value in self._constants.values()]

    def initial(self) -> tf.Tensor:
        """The model's initialisation as a vector [d]."""
        values = [tf.convert_to_tensor(v.value) for v in self.model.trainable_variables]
        return self.flatten(values or [tf.zeros([self.dim], self.dtype)])

    def initial_state(self) -> tf.Tensor:
        """What the model's layers keep now: [S]; S = 0 for most models."""
        return self._packed_state([tf.convert_to_tensor(v.value) for v in self._of(STATE)])

    def flatten(self, leaves: Sequence[Any]) -> tf.Tensor:
        """The vector [d] of tensors shaped like the model's variables; or [m, d] of m of each."""
        return self._packing.pack(leaves)

    def unflatten(self, z: tf.Tensor) -> list[tf.Tensor]:
        """The views of z [d] shaped like the model's variables (no copy where aligned).

        Of m vectors, [m, d], tensors [m, ...].
        """
        return self._packing.unpack(z)

    # Calls.

    def apply(
        self,
        leaves: Sequence[tf.Tensor],
        x: tf.Tensor,
        key: tf.Tensor | None = None,
        state: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The model in training, at parameters `leaves` (see `unflatten`) and inputs x [n, ...].

        Args:
          leaves: of z.
          x: packed inputs.
          key: int32[2], of the layers' draws. Without it nothing is drawn: a model that would draw
            is called as at inference, normalising by the statistics of x.
          state: [S], what the layers kept; None: that of `settled` on x.

        Returns:
          [n, ...] of the parameters' dtype, whatever precision the layers compute in.
        """
        if self.random and key is None:
            z = self.flatten(leaves)
            return self.frozen()(self.calibrated(z, [x], state), x)
        if self.num_state and state is None:
            state = self.settled(leaves, x)
        return self._call(leaves, self._values(0.0, key, state), x, training=True).output

    def __call__(
        self,
        z: tf.Tensor,
        x: tf.Tensor,
        key: tf.Tensor | None = None,
        state: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """`apply` at the parameter vector z [d]."""
        return self.apply(self.unflatten(z), x, key, state)

    def apply_many(
        self,
        leaves: Sequence[tf.Tensor],
        x: tf.Tensor,
        keys: Sequence[tf.Tensor] | None = None,
        states: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """m networks of this architecture at once: [m, n, ...].

        Perceptrons (`batched`) are products of matrices with a leading axis; other models are
        called m times, side by side in the graph.

        Args:
          leaves: [m, ...], of `unflatten`.
          x: inputs [m, n, ...] of each; or [n, ...], which all of them read.
          keys: m of them, see `apply`.
          states: [m, S].
        """
        m: Any = leaves[0].shape[0]
        shared = x.shape.rank == len(self.input_shape) + 1
        if self.batched:
            return tf.cast(self._batched(leaves, x[None] if shared else x), leaves[0].dtype)
        each: Any = zip(*(tf.unstack(leaf, m) for leaf in leaves), strict=True)
        inputs = [x] * m if shared else tf.unstack(x, m)
        own_keys = [None] * m if keys is None else keys
        own_states = [None] * m if states is None else tf.unstack(states, m)
        calls = zip(each, inputs, own_keys, own_states, strict=True)
        return tf.stack([self.apply(*call) for call in calls])

    def many(
        self,
        z: tf.Tensor,
        x: tf.Tensor,
        keys: Sequence[tf.Tensor] | None = None,
        states: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """`apply_many` at parameter vectors z [m, d]."""
        return self.apply_many(self.unflatten(z), x, keys, states)

    def _batched(self, leaves: Sequence[tf.Tensor], x: tf.Tensor) -> tf.Tensor:
        """Layer after layer, on x [m, n, ...] or [1, n, ...]."""
        own = iter(leaves)
        for layer in self.model.layers:
            x = tf.cast(x, layer.compute_dtype)
            mine = [tf.cast(next(own), x.dtype) for _ in layer.trainable_variables]
            x = _LAYERS[type(layer)](layer, mine, x)
        return x

    # What layers keep.

    def update(
        self,
        leaves: Sequence[tf.Tensor],
        x: tf.Tensor,
        key: tf.Tensor | None,
        state: tf.Tensor,
    ) -> tf.Tensor:
        """The state [S] after one call in training mode; the arguments are those of `apply`."""
        return self._after(self._call(leaves, self._values(0.0, key, state), x, training=True))

    def settled(self, leaves: Sequence[tf.Tensor], x: tf.Tensor) -> tf.Tensor:
        """The state [S] that belongs to parameters alone: after 256 updates on the inputs x.

        They begin at the same state whatever the run; of a spectral norm they are power iterations.
        It is a constant to gradients.
        """
        fixed = [tf.stop_gradient(leaf) for leaf in leaves]
        return tf.stop_gradient(self._settle(fixed, tf.stop_gradient(x)))

    @functools.cached_property
    def _settle(self):
        def settle(leaves, x):
            key = rng.stream(0, "settling")

            def body(i, state):
                return i + 1, self.update(leaves, x, rng.fold_in(key, i), state)

            start = tf.constant(self._start)
            return tf.while_loop(lambda i, _: i < _SETTLING, body, (tf.constant(0), start))[1]

        return tf.function(settle, autograph=False)

    def _where_it_settles(self) -> np.ndarray:
        """Where `settled` begins. Not at random vectors: those differ from process to process."""
        values = [
            np.sin(1.0 + np.arange(math.prod(v.shape)) ** 2)
            if v.path.endswith("/vector_u")
            else np.reshape(v.numpy(), [-1])
            for v in self._of(STATE)
        ]
        return np.concatenate([*values, []]).astype(self.dtype.as_numpy_dtype)

    # At inference.

    @property
    def known(self) -> bool:
        """Whether all layers are Keras's own or ours."""
        return self._roles.known

    @property
    def calibrates(self) -> bool:
        """Whether a vector of `frozen` is more than z: see `calibrated`."""
        return bool(self._tail.used)

    def calibrated(
        self, z: tf.Tensor, batches: Iterable[tf.Tensor], state: tf.Tensor | None = None
    ) -> tf.Tensor:
        """z followed by the statistics of its normalisation layers, means over the batches.

        Of layers with a state, too, by one call in training mode: weights that these write
        (kernels divided by their spectral norm) are then what they wrote.

        Args:
          z: [d].
          batches: inputs [n, ...], each normalised by itself, as in training.
          state: [S]; None: `settled` on the first batch.

        Returns:
          The vector of `frozen()`: [d + s], or z itself without such layers.
        """
        if not self.calibrates:
            return z
        batches = iter(batches)
        first = next(batches, None)
        if first is None:
            if self.num_statistics:
                raise ValueError("calibrated needs at least one batch.")
            first = self._rows(2)
        leaves, total, count = self.unflatten(z), None, 0
        if self.num_state and state is None:
            state = self.settled(leaves, first)
        after: Any = None
        for x in (first, *batches) if self.num_statistics else (first,):
            key = rng.fold_in(rng.stream(0, "calibration"), count) if self.random else None
            # A moving statistic s becomes m s + (1 - m) b, with b the batch's own: two values
            # of s give the layer's m and b.
            from_0 = self._call(leaves, self._values(0.0, key, state), x, training=True)
            after = after or from_0
            count += 1
            if not self.num_statistics:
                continue
            from_1 = self._call(leaves, self._values(1.0, key, state), x, training=True)
            pairs = zip(*(self._chosen(c.values, STATISTIC) for c in (from_0, from_1)), strict=True)
            of_x = [s0 / (1.0 - (s1 - s0)) for s0, s1 in pairs]
            total = of_x if total is None else [a + b for a, b in zip(total, of_x, strict=True)]
        means = iter([tf.cast(a, z.dtype) / count for a in total or []])
        kept = iter([tf.cast(x, z.dtype) for x in self._chosen(after.values, STATE)])
        tail = [next(means if k == STATISTIC else kept) for k in self._roles.kinds if k in _TAIL]
        own = self.flatten(after.leaves) if self._roles.assigns else z
        return tf.concat([own, self._tail.pack(tail)], axis=0)

    def frozen(self) -> Network | FrozenNetwork:
        """The network at inference, on vectors of `calibrated`; itself where that is the same."""
        same = not (self.calibrates or self.random) and self._roles.known
        return self if same else FrozenNetwork(self)

    def to_keras(self, z: tf.Tensor, state: tf.Tensor | None = None) -> keras.Model:
        """A new Keras model that is this network at inference, to the last bit.

        Args:
          z: a vector [d + s] of `calibrated`, or [d], which is enough without batch normalisation.
          state: [S], where z is [d]: see `calibrated`.

        Returns:
          A model of the same architecture: `model(inputs, training=False)` is `frozen()(z, x)`
          (in the layers' precision), where both are called on the same rows, and both eagerly or
          both in a graph. It shares nothing with `model`.

        Raises:
          InputError: if statistics are missing, or the model cannot be made anew from its config.
        """
        if self.calibrates and z.shape == (self.dim,):
            if self.num_statistics:
                raise InputError(
                    f"{self.model.name!r} has batch normalisation, whose statistics the vector "
                    "lacks. Give the vector of `calibrated`."
                )
            z = self.calibrated(z, [], state)
        leaves, values = self._at_inference(z)
        of = zip(self.model.trainable_variables, leaves, strict=False)
        after = {id(v): x for v, x in of}
        after |= {
            id(v): v.value if kind == SEED else x
            for v, kind, x in zip(
                self.model.non_trainable_variables, self._roles.kinds, values, strict=True
            )
        }
        new = cloned(self.model, self._example)
        for theirs, mine in zip(new.variables, self.model.variables, strict=True):
            theirs.assign(after[id(mine)])
        return new

    def _at_inference(self, z):
        """The leaves and the other variables' values of a vector of `frozen`."""
        values = self._values(0.0, None, None, tail=z[self.dim :])
        return self.unflatten(z), values

    # Variables and values.

    def _of(self, *kinds: str) -> list[Any]:
        return self._chosen(self.model.non_trainable_variables, *kinds)

    def _chosen(self, values: Sequence[Any], *kinds: str) -> list[Any]:
        return [x for x, kind in zip(values, self._roles.kinds, strict=True) if kind in kinds]

    def _packed_state(self, values) -> tf.Tensor:
        if not values:
            return tf.zeros([0], self.dtype)
        return self._state.pack([tf.cast(x, self.dtype) for x in values])

    def _after(self, called: _Called) -> tf.Tensor:
        return self._packed_state(self._chosen(called.values, STATE))

    def _values(self, statistic: float, key, state, tail=None) -> list[Any]:
        """What the non-trainable variables hold in a call.

        Args:
          statistic: all moving statistics.
          key: of the seeds; None: they are not read.
          state: [S].
          tail: instead of the statistics and the state, what a vector of `frozen` ends with.
        """
        kept = iter(() if state is None else self._state.unpack(state))
        ends = None if tail is None else iter(self._tail.unpack(tail))
        values, num_seeds = [], 0
        for v, kind in zip(self.model.non_trainable_variables, self._roles.kinds, strict=True):
            if kind in _TAIL and ends is not None:
                values.append(tf.cast(next(ends), v.dtype))
            elif kind == STATISTIC:
                values.append(tf.fill(v.shape, tf.cast(statistic, v.dtype)))
            elif kind == STATE:
                values.append(tf.cast(next(kept), v.dtype))
            elif kind == SEED:
                seed = None if key is None else rng.fold_in(key, num_seeds)
                values.append(
                    tf.zeros(v.shape, v.dtype) if seed is None else tf.cast(seed, v.dtype)
                )
                num_seeds += 1
            else:
                values.append(self._constants[id(v)])
        return values

    def _call(self, leaves, values, x, training) -> _Called:
        weights, others = self.model.trainable_variables, self.model.non_trainable_variables
        own = list(leaves)[: len(weights)]
        args, kwargs = self._arguments(x)
        if is_graph(self.model) and not self._roles.assigns:
            called: Any = self.model.stateless_call(own, values, *args, training=training, **kwargs)
            output, moved = called
        else:
            given = [*zip(weights, own, strict=True), *zip(others, values, strict=True)]
            with keras.StatelessScope(state_mapping=given) as scope:
                output = self.model(*args, training=training, **kwargs)
            own = [scope.get_current_value(v) for v in weights]
            moved = [scope.get_current_value(v) for v in others]
        if not tf.is_tensor(output):
            raise InputError(
                f"{self.model.name!r} gives {type(output).__name__} of tensors; a network gives "
                "one. Choose one of its outputs: keras.Model(model.inputs, model.outputs[0])."
            )
        return _Called(tf.cast(output, leaves[0].dtype), own, moved)


_TAIL = (STATISTIC, STATE)


class FrozenNetwork:
    """A `Network` at inference: its vectors end with what `Network.calibrated` measured.

    Nothing is drawn, and a row of its output depends on that row of the input alone.

    Attributes:
      model: the Keras model.
      dim: d + s; see `Network.calibrated`.
      dtype: of its vectors.
      output_shape: of one row of its output.
    """

    def __init__(self, network: Network):
        self._network = network
        self.model, self.dtype = network.model, network.dtype
        self.dim = network.dim + network._tail.dim

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """Of one row of the output."""
        return self._network.output_shape

    @property
    def takes_no_rows(self) -> bool:
        """See `Network.takes_no_rows`."""
        return self._network.takes_no_rows

    def __call__(self, z: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """The model at z [d + s] and inputs x [n, ...]."""
        net = self._network
        leaves, moving = net._at_inference(z)
        return net._call(leaves, moving, x, training=False).output
