"""Examples beside plain Keras: the same mini-batches, exact resuming, tables of records."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks import examples
from benchmarks.examples import RIVALS, Rival
from tests.test_examples import FOLDER
from tests.tf_mixed_nash.mixed_nash_gan.conftest import net, points
from tests.trainers.conftest import command
from tf_mixed_nash import MixedNashGAN
from trainers.tasks.data import user_data


def game(**options):
    penalties = {"gradient_penalty": 0.1, "r1": 0.2}
    gan = MixedNashGAN(net(2, 2, 1), net(2, 1, 3), algorithm="adam", **penalties, **options)
    gan.compile(seed=5)
    return gan


def batches(first, last):
    rows = tf.constant(points(48)).numpy().reshape(-1, 8, 2)
    return tf.data.Dataset.from_tensor_slices(rows[first:last])


def trained(parts, critic_steps=1, fresh=False):
    rival = Rival("", 1e-2, critic_steps=critic_steps, fresh=fresh)
    model = examples.keras_gan(game(), rival, 0)
    for first, last in parts:
        state = [v.numpy() for v in model.state()]
        model = examples.keras_gan(game(), rival, 0)
        for variable, value in zip(model.state(), state, strict=True):
            variable.assign(value)
        model.fit(batches(first, last), shuffle=False, verbose=0)
    return model


def test_the_rival_that_goes_on_is_the_one_that_did_not_stop():
    whole, parts = trained([(0, 4)]), trained([(0, 2), (2, 4)])
    for a, b in zip(whole.state(), parts.state(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    start = [v.numpy() for v in game()._configuration.models.theta.variables]
    assert (whole.generator.variables[0].numpy() != start[0]).any()


def test_a_critic_takes_its_steps():
    model = trained([(0, 3)], critic_steps=2)
    assert (int(model.d_optimizer.iterations), int(model.g_optimizer.iterations)) == (6, 3)
    model = trained([(0, 5)], critic_steps=2, fresh=True)  # each on a mini-batch of its own
    assert (int(model.d_optimizer.iterations), int(model.g_optimizer.iterations)) == (5, 2)


def test_the_rival_descends_what_our_game_descends():
    """Of the critic: the loss and penalties at the same points, by `GanGame`'s own formulas."""
    model = examples.keras_gan(game(), Rival("", 1e-2), 0)
    x = tf.constant(points(8))
    critic = model.discriminator
    with tf.GradientTape() as tape:
        tape.watch(x)
        logits = critic(x)
    slopes = tf.reduce_sum(tape.gradient(logits, x) ** 2, axis=1)
    np.testing.assert_allclose(model.slopes(x, None), slopes, rtol=1e-5)
    # Between a point and itself lies that point.
    expected = 0.1 * tf.reduce_mean((tf.sqrt(slopes) - 1.0) ** 2) + 0.1 * tf.reduce_mean(slopes)
    np.testing.assert_allclose(model.penalty(x, x, None), expected, rtol=1e-5)


def test_both_see_the_same_mini_batches():
    gan, data = game(), points(40)
    seen = examples.SimpleNamespace(gan=gan, data=data, options={"batch_size": 8})
    feed = examples.mini_batches(seen, seed=5)
    config = gan._configuration.resolved(batch_size=8, num_batches=9)
    made = user_data.make(data, 8, (2,))
    ours = gan._configuration.given(config, made).task.feed(tf.float32)
    for m in (0, 3, 7):
        at = tf.constant(m, tf.int64)
        np.testing.assert_array_equal(
            feed.batch_at(feed.block(0, 9), at), ours.batch_at(ours.block(0, 9), at)
        )


def test_every_example_that_trains_a_game_has_a_rival():
    assert {p.stem for p in FOLDER.glob("*.py")} == {*RIVALS, "resume", "images", "options"}


def card(value):
    return {"energy_distance": value, "precision": 0.5, "recall": 0.25, "ks_max": 0.1}


def test_the_page_is_of_the_records(tmp_path):
    runs = {
        "two_moons": {
            seed: {
                "algorithm": "mirror_prox_gan",
                "num_batches": 8_000,
                "batch_size": 64,
                "hardware": {"processor": "P", "cores": 2, "gpus": []},
                "answers": {a: card(value) for a in ("last", "ema", "mixture")},
                "rival": card(2 * value),
                "published": card(4 * value),
                "real": card(0.0),
            }
            for seed, value in (("0", 0.1), ("1", 0.3))
        },
        "table": {"0": {"answers": {}}},  # its rival is missing
    }
    path, page = tmp_path / "records.json", tmp_path / "page.md"
    path.write_text(json.dumps({"runs": runs}))
    done = command("benchmarks.examples", "--render", f"--records={path}", f"--page={page}")
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert (
        "8,000 mini-batches of 64, seeds 0, 1. Adam: 0.001, beta 0.5 and 0.9. P, 2 cores." in text
    )
    assert "| mirror_prox_gan | mixture | 0.2000 ± 0.1000 | 0.500 ± 0.000 |" in text
    assert "| Keras, Adam | last | 0.4000 ± 0.2000 |" in text
    assert "| Keras, Adam as in WGAN-GP | last | 0.8000 ± 0.4000 |" in text
    assert "Not run yet: `python -m benchmarks.examples --examples=table`." in text


@pytest.mark.slow  # of five seconds all but a moment are imports; such words: test_errors.py
def test_an_unknown_example_is_refused():
    done = command("benchmarks.examples", "--examples=moons")
    assert done.returncode == 2
    assert (
        "Unknown --examples=moons. Did you mean 'two_moons'? Choose some of: two_moons, table,"
        in done.stderr
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["two_moons", "class_conditional"])
def test_it_trains_both_records_them_and_does_not_repeat_it(name, tmp_path):
    flags = ["--tiny", f"--examples={name}", "--seeds=1", f"--out={tmp_path / 'runs'}"]
    flags += [f"--records={tmp_path / 'r.json'}", f"--page={tmp_path / 'p.md'}"]
    done = command("benchmarks.examples", *flags)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "r.json").read_text())["runs"][name]["1"]
    metric = "energy_distance" if name == "two_moons" else "fid"
    assert record["rival"][metric] != record["answers"]["last"][metric]
    if name == "two_moons":
        assert record["published"][metric] != record["rival"][metric]
    assert f"{name}, seed 1: done" in done.stdout
    again = command("benchmarks.examples", *flags)
    assert again.returncode == 0
    assert "done" not in again.stdout
    keras.backend.clear_session()
