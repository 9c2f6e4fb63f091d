"""Mixed strategies of the generator: a measure over its parameters that can be sampled.

The paper's answer is a distribution over generators: pick a random index t-hat of the run
and output (theta_{t-hat}) (section 4.1). `rng.reservoir_slot` keeps M such indices, each
uniform over a window of the run; `MixedStrategy` samples from their mixture.

The seed rule: row (s, i) of `seeds` is sample number i of seed s. Every row has its own
key, so that the same row is the same sample whatever its batch, and "n samples of seed s"
has the same prefix whatever n.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.latents import LatentLaw
from tf_mixed_nash.models.network import FrozenNetwork, Network
from tf_mixed_nash.types import Measure

__all__ = ["MixedStrategy", "seed_rows", "traced"]


def seed_rows(seed: int, num: int, start: int = 0) -> tf.Tensor:
    """The rows (seed, start) ... (seed, start + num - 1): int64 [num, 2]."""
    index = tf.range(start, start + num, dtype=tf.int64)
    return tf.stack([tf.fill([num], tf.constant(seed, tf.int64)), index], axis=1)


def traced(
    sample: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor],
) -> Callable[[Any, Any, Any], tf.Tensor]:
    """A sampler of mixtures, compiled once for one component and once for any number of them.

    A run's mixture has one component more at almost every look: a program for each number would
    take time, and stay in memory.

    Args:
      sample: (atoms [m, d], weights [m], seeds int64 [n, 2]) -> samples [n, ...].
    """
    programs: dict[Any, Any] = {}

    def draw(atoms, weights, seeds):
        given = [tf.convert_to_tensor(x) for x in (atoms, weights)]
        count = 1 if given[0].shape[0] == 1 else None
        specs = [tf.TensorSpec([count, *x.shape[1:]], x.dtype) for x in given]
        key = (*specs, tf.TensorSpec([None, 2], tf.int64))
        if key not in programs:
            # Called as it was traced: else TensorFlow warns a process with five answers.
            program: Any = tf.function(sample, input_signature=key, autograph=False)
            programs[key] = program.get_concrete_function()
        return programs[key](*given, tf.convert_to_tensor(seeds, tf.int64))

    return draw


class MixedStrategy:
    """sum_j a_j P_{theta_j}: each sample draws its own component.

    Args:
      measure: atoms [M, d] and weights [M] (non-negative, of sum 1), tensors or variables.
      generator: the network of every component.
      latent_dim: D; latents are N(0, I_D).
      num_classes: k > 0 for a class-conditional generator, which reads D + k numbers: the
        latents and a one-hot class.
      num_particles: n', which divides M: the components are whole measures of n' atoms, one after
        the other, so that component i is atom i mod n' of its measure.
      latent_law: of other latents than N(0, I).

    Example:
      >>> from tf_mixed_nash.strategies.mixed import seed_rows
      >>> network = mlp(2, 2, (4,))
      >>> atoms = tf.stack([network.initial(), 2.0 * network.initial()])
      >>> strategy = MixedStrategy(Measure(atoms, tf.constant([0.5, 0.5])), network, latent_dim=2)
      >>> strategy.sample(seed_rows(seed=0, num=3)).shape.as_list()
      [3, 2]
    """

    def __init__(
        self,
        measure: Measure,
        generator: Network | FrozenNetwork,
        latent_dim: int,
        num_classes: int = 0,
        num_particles: int = 1,
        latent_law: LatentLaw | None = None,
    ):
        self.atoms, self.weights = measure
        self.generator = generator
        self.latent_dim = latent_dim
        self.num_classes = num_classes
        self.num_particles = num_particles
        self.latent_law = latent_law

    @property
    def num_components(self) -> Any:
        """M; a scalar tensor in a graph for any number of them (`traced`)."""
        count = self.atoms.shape[0]
        return tf.shape(self.atoms, out_type=tf.int64)[0] if count is None else int(count)

    def draw(self, seeds: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What the keys of the rows decide.

        Args:
          seeds: int64 [n, 2].

        Returns:
          (components int64 [n], latents float32 [n, D], followed in a class-conditional
          strategy by a class drawn uniformly, one-hot).
        """
        # Whole groups of 16 rows: the CPU computes the rest of a vector of floats by other
        # instructions, whose last bits differ, and a row would depend on its batch.
        num = tf.shape(seeds)[0]
        # A law of its own takes two words of a row, as a key.
        D = self.latent_dim if self.latent_law is None else 2
        words = rng.row_words(
            tf.concat([seeds, tf.zeros([tf.math.floormod(-num, 16), 2], tf.int64)], axis=0),
            D + 1 + (self.num_classes > 0),
        )
        component = self.component_at(rng.uniform_from_bits(words[:, D]))
        if self.latent_law is None:
            latents = rng.normal_from_bits(words[:, :D])
        else:
            latents = self.latent_law.of_rows(tf.bitcast(words[:, :D], tf.int32))
        if self.num_classes:
            u = rng.uniform_from_bits(words[:, D + 1])
            index = tf.cast(u * float(self.num_classes), tf.int64)
            latents = self.with_classes(latents, tf.minimum(index, self.num_classes - 1))
        return component[:num], latents[:num]

    def atom_of(self, seeds: tf.Tensor) -> tf.Tensor:
        """Which atom of its measure draws the sample of each row of seeds: int64 [n] in [0, n')."""
        return tf.math.floormod(self.draw(seeds)[0], self.num_particles)

    def atom_weights(self) -> tf.Tensor:
        """The mass of each atom, over all measures: float32 [n']."""
        weights = tf.cast(self.weights, tf.float32)
        return tf.reduce_sum(tf.reshape(weights, [-1, self.num_particles]), axis=0)

    def with_classes(self, latents: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        """Latents [n, D] followed by one-hot classes, int64 [n] in [0, k): [n, D + k]."""
        return tf.concat([latents, tf.one_hot(classes, self.num_classes, dtype=latents.dtype)], 1)

    def component_at(self, uniform: tf.Tensor) -> tf.Tensor:
        """The components at quantiles `uniform` [n] in [0, 1]: int64 [n]."""
        edges = tf.cumsum(tf.cast(self.weights, tf.float32))
        component = tf.searchsorted(edges, uniform, side="right", out_type=tf.int64)
        return tf.minimum(component, self.num_components - 1)

    def component_of_latents(self, latents: tf.Tensor) -> tf.Tensor:
        """A component for each row of latents [n, D], by a hash of its bytes: int64 [n].

        Latents from N(0, I) then give samples from the mixture, with no draw of its own.
        """
        data = tf.reshape(tf.bitcast(latents, tf.uint8), [-1, 4 * self.latent_dim])
        bits = tf.bitcast(tf.fingerprint(data)[:, :4], tf.uint32)
        return self.component_at(rng.uniform_from_bits(bits))

    def generate(self, components: tf.Tensor, latents: tf.Tensor) -> tf.Tensor:
        """Row i is G_{theta_{components[i]}}(latents[i]): float32 [n, ...].

        Args:
          components: int64 [n] in [0, M).
          latents: float32 [n, D], or [n, D + k] with one-hot classes.
        """
        if self.atoms.shape[0] == 1:
            return self._generated(0, latents)
        order = tf.argsort(components, stable=True)
        latents = tf.gather(latents, order)
        # Only the components that are there: one row of a mixture of 240 is one call. Of no rows
        # the first one makes none.
        nobody: Any = tf.cast(tf.shape(order)[0] == 0, tf.int32)
        present, _, counts = (
            tf.pad(x, [[0, nobody]]) for x in tf.unique_with_counts(tf.gather(components, order))
        )
        ends = tf.cumsum(counts)
        shape = self.generator.output_shape
        rows = tf.TensorArray(
            tf.float32, tf.size(present), infer_shape=False, element_shape=[None, *shape]
        )

        def body(i, rows):
            mine = latents[ends[i] - counts[i] : ends[i]]
            return i + 1, rows.write(i, self._generated(present[i], mine))

        _, rows = tf.while_loop(lambda i, _: i < tf.size(present), body, (0, rows))
        return tf.gather(rows.concat(), tf.argsort(order))

    def _generated(self, j, latents: tf.Tensor) -> tf.Tensor:
        """Of component j at latents [n, D], n >= 0: float32 [n, ...]."""
        if self.generator.takes_no_rows:
            return tf.cast(self.generator(self.atoms[j], latents), tf.float32)
        # Called at one row in the place of none, which is left out.
        num = tf.shape(latents)[0]
        paddings: Any = [[0, tf.cast(num == 0, tf.int32)], [0, 0]]
        some = tf.pad(latents, paddings)
        return tf.cast(self.generator(self.atoms[j], some), tf.float32)[:num]

    def sample(self, seeds: tf.Tensor) -> tf.Tensor:
        """The samples of the rows of seeds, int64 [n, 2]: float32 [n, ...]."""
        components, latents = self.draw(seeds)
        return self.generate(components, latents)
