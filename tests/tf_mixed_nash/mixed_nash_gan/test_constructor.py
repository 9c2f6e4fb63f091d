"""What the constructor says of arguments that are not valid: one sentence that names them."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tf_mixed_nash.mixed_nash_gan.conftest import game, net
from tf_mixed_nash import InputError, MixedNashGAN
from tf_mixed_nash.mixed_nash_gan.arguments import in_python
from tf_mixed_nash.models.adapters import latents_of


def penalized(penalty, **options):
    return lambda: game(penalty=penalty, **options)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: game(packing=0), "^packing must be an integer of at least 1, got 0"),
        (lambda: game(packing="two"), "^packing must be an integer"),
        (lambda: game(num_classes=1), r"^num_classes must be 0 \(without classes\) or .* 2, got 1"),
        (lambda: game(num_classes=2.0), "^num_classes must be"),
        (lambda: game(num_classes=False), "^num_classes must be"),
        (lambda: game(latent_dim=0), "^latent_dim must be an integer of at least 1, got 0"),
        (lambda: game(latent_dim=True), "^latent_dim must be an integer"),
        (lambda: game(latent_dim=3), r"Or let latents be of 2 numbers: latent_dim=2\.$"),
        (
            lambda: MixedNashGAN(net(2, 1), net(3, 2)),
            r"the other way round: MixedNashGAN\(generator, discriminator\)",
        ),
        (lambda: MixedNashGAN(net(2, 3), net(2, 2)), r"where the game gives data \[3\].*\[3\]\.$"),
        (lambda: game(gradient_penalty=True), "^gradient_penalty must be float, got True"),
        (lambda: game(num_particles=True), "^num_particles must be int, got True"),
        (lambda: game(r1=float("inf")), "^r1 must be finite and at least 0, got inf"),
        (lambda: game(r1=-1.0), "^r1 must be at least 0, got -1"),
        (lambda: game(augment="color"), '^augment="color": color are augmentations of images'),
        (
            lambda: game(augment_probability=2.0),
            '^augment_probability=2.0 is .* such as augment="color,translation,cutout"',
        ),
        (
            lambda: game(algorithm=keras.optimizers.Adam()),
            r"^algorithm must be a name .*compile\(step_size=\.\.\.\).* got Adam",
        ),
        (lambda: game(objective=["wgan"]), r"^objective must be a name or .*got \['wgan'\]"),
        (penalized(lambda critic: critic), "^penalty=<lambda> must be .*takes 1 positional"),
        (
            penalized(lambda critic, real, fake, key: critic(real)),
            r"^penalty=.*-> one number; it returned float32 \(4, 1\).*tf.reduce_mean",
        ),
        (penalized(lambda critic, real, fake, key: None), "^penalty=.*it returned None"),
        (penalized(lambda critic, real, fake, key: {}), "^penalty=.*it returned a dict"),
        (penalized(lambda critic, real, fake, key: 1 / 0), "^penalty=.*ZeroDivisionError"),
        (penalized(lambda critic, real, fake, key: "a"), "^penalty=.*it returned string"),
    ],
)
def test_an_argument_is_named(call, words):
    with pytest.raises(InputError, match=words) as caught:
        call()
    assert "--config" not in str(caught.value)


def test_a_penalty_sees_what_it_sees_in_training():
    """Packs with their classes' channels, a critic that draws, keeps a state, and gives [n]."""
    seen = {}
    critic = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.SpectralNormalization(keras.layers.Dense(3)),
            keras.layers.Dropout(0.5),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(1),
            keras.layers.Reshape(()),
        ]
    )

    def penalty(critic, real, fake, key):
        seen.update(real=real.shape, fake=fake.shape, key=key.dtype, logits=critic(real).shape)
        return 3

    MixedNashGAN(net(2, 2), critic, algorithm="sgd", packing=2, penalty=penalty)
    assert seen == {"real": (4, 4), "fake": (4, 4), "key": tf.int32, "logits": (4, 1)}
    options = {"algorithm": "sgd", "num_classes": 3, "penalty": penalty}
    MixedNashGAN(net(5, 2), net(5, 1), **options)
    assert seen["real"] == (4, 5)


def test_an_integer_of_numpy_is_one():
    gan = MixedNashGAN(net(5, 2), net(5, 1), num_classes=np.int64(3), latent_dim=np.int32(2))
    assert (gan.num_classes, gan.latent_dim) == (3, 2)


@pytest.mark.parametrize(
    ("shapes", "types", "dim"),
    [
        ([(3,), ()], "ff", 3),
        ([(), (3,)], "ff", 3),
        ([(16,), (3,)], "ff", 16),  # one-hot classes
        ([(3,), (3,)], "fi", 3),
        ([(2, 4), (1,)], "fi", 8),
        ([(1,), (1,)], "if", 1),
        ([(6,)], "f", 3),
    ],
)
def test_latents_beside_labels_are_told(shapes, types, dim):
    kinds = {"f": "float32", "i": "int32"}
    inputs = [keras.Input(s, dtype=kinds[t]) for s, t in zip(shapes, types, strict=True)]
    flat = [keras.ops.reshape(keras.ops.cast(x, "float32"), (-1, 1)) for x in inputs]
    model = keras.Model(inputs, keras.layers.Dense(2)(flat[0]))
    assert latents_of(model, 3) == dim


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("log_every must be at least 1.", "steps_per_epoch must be at least 1."),
        ("Unknown compile 'x'.", "Unknown xla 'x'."),
        ("Choose --config.compile=auto, or parts.", 'Choose xla="auto", or parts.'),
        ("game.r1, mixture.window and a mixture.", "r1, window and a mixture."),
        ("Set --config.score_every to it.", "Set score_every to it."),
        ("Set --config.accumulate=2.", "Set accumulate=2."),
    ],
)
def test_keys_of_configs_are_said_as_arguments(said, told):
    assert in_python(said) == told


# Of the process.


def test_what_comes_out_draws_no_random_numbers(trained, tmp_path):
    """Keras would draw the seeds of weights that are then set."""
    before = random.getstate(), np.random.get_state()[1].tolist()
    trained.generator("ema")
    trained.discriminator()
    trained.sample(2)
    MixedNashGAN.load(trained.save(tmp_path / "game"))
    game().compile()
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
