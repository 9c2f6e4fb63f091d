"""The samplers of a run's answers."""

import numpy as np
import tensorflow as tf

from tf_mixed_nash.models import mlp
from tf_mixed_nash.strategies.mixed import MixedStrategy, seed_rows
from tf_mixed_nash.types import Measure
from trainers.answers import reading


def test_answers_share_two_programs_and_not_their_numbers(monkeypatch):
    network, random = mlp(2, 2, (4,)), np.random.default_rng(0)

    def answer(num, weights):
        atoms = tf.constant(random.normal(size=(num, network.dim)), tf.float32)
        return MixedStrategy(Measure(atoms, tf.constant(weights, tf.float32)), network, 2)

    answers = {"last": answer(1, [1.0]), "ema": answer(1, [1.0]), "mixture": answer(2, [0.9, 0.1])}
    answers["weighted"] = MixedStrategy(
        Measure(answers["mixture"].atoms, tf.constant([0.1, 0.9])), network, 2
    )
    samplers, seeds = reading.samplers(answers), seed_rows(3, 40)
    drawn = {name: draw(seeds) for name, draw in samplers.items()}
    for name, strategy in answers.items():
        np.testing.assert_allclose(drawn[name], strategy.sample(seeds), rtol=1e-5, atol=1e-6)
    assert len({samples.tobytes() for samples in drawn.values()}) == 4
    traces = []

    def sample(strategy, seeds):
        traces.append(strategy.atoms.shape[0])
        return original(strategy, seeds)

    original = MixedStrategy.sample
    monkeypatch.setattr(MixedStrategy, "sample", sample)
    draw = reading.program(answers["last"])
    for _ in range(2):
        for strategy in (*answers.values(), answer(3, [0.2, 0.3, 0.5]), answer(7, [1 / 7] * 7)):
            got = reading.sampler(strategy, draw)(seeds)
            np.testing.assert_allclose(got, original(strategy, seeds), rtol=1e-5, atol=1e-6)
    assert traces == [1, None], "one component, and any number of them"
