"""Mixtures whose components stand apart, and what they publish to."""

from __future__ import annotations

import contextlib
import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from absl import flags

from export import publish, runtime, verify
from export.strategy import publish_strategy
from tests.shared import shared_folder
from tf_mixed_nash.models import mlp
from tf_mixed_nash.models.dcgan import dcgan_generator
from tf_mixed_nash.strategies.mixed import MixedStrategy
from tf_mixed_nash.types import Measure
from trainers.system import cli

# Wide enough that one row and several rows round differently in a plain matrix product.
LATENT_DIM, HIDDEN = 3, (512, 512)
SPACING = 40
# A component of weight 0 must never be drawn.
WEIGHTS = {1: (1.0,), 8: (0.3, 0.05, 0.0, 0.25, 0.1, 0.1, 0.05, 0.15)}
PLOT = {"window": [-50.0, 330.0, -190.0, 190.0], "modes": [[0.0, 100.0], [100.0, -100.0]]}
POINTS_FACTS = {
    "dataset": "gaussians8",
    "algorithm": "mirror_prox_gan",
    "plot": PLOT,
    "strategy": "mixture",
    "config": {"seed": 3},
}
IMAGES_FACTS = {
    "strategy": "mixture",
    "dataset": "patches",
    "algorithm": "mirror_prox_gan",
    "step": 1200,
    "config": {"seed": 5},
    "scorecard": {"fid": 1.25, "num_samples": 10},
    "real_data_ceiling": {"fid": 0.5, "num_samples": 10},
    "protocol": {"feature_network": "tiny", "sha256": "ab" * 32, "num_samples": 10},
}


@contextlib.contextmanager
def without_gates():
    """What is published inside has not passed the gates: their tests go through them again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "check", lambda *_: None)
        yield


def make_strategy(num_components: int, dtype: str = "float32") -> MixedStrategy:
    """Component j lives around (SPACING j, 0); no component is its network's initialisation."""
    networks = [
        mlp(LATENT_DIM, 2, HIDDEN, seed=100 * j, dtype=dtype) for j in range(num_components)
    ]
    atoms = np.stack([network.initial().numpy() for network in networks])
    noise = np.random.default_rng(0).normal(size=atoms.shape)
    atoms = (atoms + 0.01 * noise).astype(atoms.dtype)
    atoms[:, networks[0].num_parameters - 2] += SPACING * np.arange(num_components)
    weights = tf.constant(WEIGHTS[num_components], tf.float32)
    return MixedStrategy(Measure(tf.constant(atoms), weights), networks[0], LATENT_DIM)


def make_image_strategy(num_components: int = 3, num_classes: int = 0) -> MixedStrategy:
    """Generators of 28 x 28 grey images; with classes, class-conditional ones."""
    networks = [
        dcgan_generator(28, 1, LATENT_DIM + num_classes, 4, "layer", seed=j)
        for j in range(num_components)
    ]
    # Larger than at initialisation, so that images differ by much more than a grey level.
    atoms = tf.stack([2.0 * network.initial() for network in networks])
    weights = tf.fill([num_components], 1.0 / num_components)
    return MixedStrategy(Measure(atoms, weights), networks[0], LATENT_DIM, num_classes)


def forward(z: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The multilayer perceptron in NumPy, float64, from its vector of parameters."""
    h, offset = x.astype(np.float64), 0
    widths = (LATENT_DIM, *HIDDEN, 2)
    for i, (rows, columns) in enumerate(itertools.pairwise(widths)):
        kernel = z[offset : offset + rows * columns].reshape(rows, columns)
        offset += rows * columns
        h = h @ kernel + z[offset : offset + columns]
        offset += columns
        h = np.maximum(h, 0) if i < len(HIDDEN) else h
    return h


def answers(strategy: MixedStrategy, components, latents) -> np.ndarray:
    """Row i is component components[i] at latents[i], in NumPy: [n, 2]."""
    components, latents = np.asarray(components), np.asarray(latents)
    out = np.full([len(latents), 2], np.nan)
    for j, z in enumerate(strategy.atoms.numpy()):
        out[components == j] = forward(z, latents[components == j])
    return out


def samples_of(strategy: MixedStrategy, seeds: np.ndarray) -> np.ndarray:
    """The samples of seeds: the strategy's own draws, through the networks in NumPy: [n, 2]."""
    draw = tf.function(strategy.draw, autograph=False)
    return answers(strategy, *draw(tf.constant(seeds)))


def seed_array(seed: int, num: int) -> np.ndarray:
    return np.array([[seed, i] for i in range(num)], np.int64)


def publish_points(folder, num_components: int):
    """Publishes the next version of folder/points."""
    publish_strategy(make_strategy(num_components), folder / "points", POINTS_FACTS)


def publish_images(folder):
    """Publishes the next version of folder/images: class-conditional, 3 generators."""
    publish_strategy(make_image_strategy(3, 4), folder / "images", IMAGES_FACTS)


def published_points(factory, num_components: int):
    """The folder of a version of so many generators, published once in a session."""

    def make(folder):
        with without_gates():
            publish_points(folder, num_components)

    return shared_folder(factory, f"published-{num_components}", make) / "points" / "1"


def published_images(factory):
    """The folder of a class-conditional version of images, published once in a session."""

    def make(folder):
        with without_gates():
            publish_images(folder)

    return shared_folder(factory, "published-images", make) / "images" / "1"


@pytest.fixture(
    scope="session",
    params=[pytest.param(1, marks=pytest.mark.slow, id="one"), pytest.param(8, id="mixture")],
)
def published(request, tmp_path_factory):
    """A published strategy: `strategy`, `version` (its folder), `manifest`, `served`."""
    strategy = make_strategy(request.param)
    version = published_points(tmp_path_factory, request.param)
    manifest = json.loads((version / publish.MANIFEST).read_text())
    with runtime.ServedModel(version) as served:
        yield SimpleNamespace(strategy=strategy, version=version, manifest=manifest, served=served)


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """A published class-conditional model of images: (strategy, version folder)."""
    return make_image_strategy(3, 4), published_images(tmp_path_factory)


ONLY_MIXTURE = pytest.mark.parametrize("published", [8], ids=["mixture"], indirect=True)


@pytest.fixture
def command(capsys):
    """Runs a command in this process: command(module, *arguments) -> (code, stdout, stderr)."""

    def run(module, *arguments):
        before = set(flags.FLAGS)
        module._define_flags()
        try:
            with pytest.raises(SystemExit) as exit_:
                cli.main(module._run, [module.__name__, *map(str, arguments)])
        finally:
            for name in set(flags.FLAGS) - before:
                delattr(flags.FLAGS, name)
            flags.FLAGS.unparse_flags()
        out, err = capsys.readouterr()
        return exit_.value.code, out, err

    return run


@pytest.fixture
def refused(command):
    """Runs a command that must refuse its input; returns its one message."""

    def run(module, *arguments):
        code, out, err = command(module, *arguments)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        return err

    return run
