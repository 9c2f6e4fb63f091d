"""Tiny configs and runs for the trainer's tests."""

import atexit
import contextlib
import hashlib
import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import lmdb
import matplotlib.cbook
import numpy as np
import pytest
from PIL import Image

from configs import common
from export import publish
from tests.forkserver import ForkServer
from tests.shared import shared_folder
from tf_mixed_nash.training.loop import Loop
from trainers.answers import publishing, reading
from trainers.experiment import settings
from trainers.tasks import pictures

ROOT = Path(__file__).parents[2]


def tiny(algorithm="mirror_prox_gan", **overrides):
    """The resolved `:tiny` config of an algorithm; dotted keys as a__b."""
    config = common.planar("gaussians8", algorithm, "tiny")
    # The assignments of a score take a quarter of those of the config's 500.
    config.scorecard.num_samples, config.scorecard.capture_samples = 300, 250
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in overrides.items()})
    return settings.resolve(config)


# Of a run whose scores are not looked at: the distance of 500 samples takes what a step does.
FEW_SCORED = {"scorecard__num_samples": 100, "scorecard__capture_samples": 50}


def tiny_images(algorithm="mirror_prox_gan", size=28, **overrides):
    """The resolved `:tiny` config of an image run on `dataset="folder"`; dotted keys as a__b."""
    config = common.images("mnist", algorithm, "tiny")
    config.dataset, config.image.size, config.image.num_classes = "folder", size, 3
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in overrides.items()})
    return settings.resolve(config)


def state_of(loop):
    """A copy of all that a checkpoint holds, the reservoir too: arrays by name."""
    return {name: np.array(value) for name, value in loop.tensors().items()}


@contextlib.contextmanager
def interrupted(when):
    """Inside, Ctrl-C comes before the first compiled call for which when(loop, until) is true."""
    advance = Loop.advance

    def interrupt(self, until):
        if when(self, until):
            raise KeyboardInterrupt
        return advance(self, until)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "advance", interrupt)
        with pytest.raises(KeyboardInterrupt):
            yield


_SERVER = ForkServer()
atexit.register(_SERVER.close)


def command(module, *arguments, timeout=120, cwd=ROOT):
    """Runs `python -m module arguments`; stdout and stderr as text.

    The process is forked from one that has imported TensorFlow: seconds less.
    """
    environment = _environment()
    done = _SERVER.run(module, *arguments, cwd=cwd, environment=environment, timeout=timeout)
    return done or process(module, *arguments, timeout=timeout, cwd=cwd)


def started(module, *arguments, environment=None):
    """`python -m module arguments`, running: a `subprocess.Popen`, or what tests use of one.

    stdout and stderr are text pipes. It is forked as `command` is, unless variables are given.
    """
    forked = environment is None and _SERVER.start(module, *arguments, environment=_environment())
    return forked or subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=environment or _environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def process(module, *arguments, timeout=120, cwd=ROOT):
    """`command` in a process that starts from nothing, for what is about the start itself."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def _environment():
    return {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}


def publish_without_model(strategy, base, metadata):
    """Publishes a version without its model, which takes seconds and is tests/export's."""
    return publish.publish(base, lambda directory: publish.write_manifest(directory, metadata))


@pytest.fixture(scope="module")
def without_publishing():
    """Runs of this process publish a version that holds its manifest alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publishing, "publish_strategy", publish_without_model)
        yield


@pytest.fixture(scope="module")
def quick_samplers():
    """Planar answers are scored by points that depend on all their parameters, and on no trace."""
    compiled = reading.sampler

    def sampler(strategy, draw):
        if len(strategy.generator.model.output_shape) > 2:
            return compiled(strategy, draw)
        atoms = strategy.atoms.numpy()
        weights = np.cos(np.arange(atoms.shape[1], dtype=np.float64))
        centres = np.stack([atoms @ weights, atoms @ weights[::-1]], axis=1)

        def sample(seeds):
            index = np.asarray(seeds)[:, 1]
            angle = 0.7 * index[:, None] + [0.0, np.pi / 2]
            return (centres[index % len(centres)] + np.sin(angle)).astype(np.float32)

        return sample

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "sampler", sampler)
        yield


@pytest.fixture(scope="module")
def quick_pictures():
    """Scatter plots of runs of this process: a few pixels that depend on all that they would show.

    Matplotlib takes a quarter of a tiny run. What is in a picture is test_pictures'.
    """

    def scatter(path, real, rows, window, size=3.6, atoms=(), modes=None):
        digest = hashlib.sha256(repr((window, size, modes and modes.sigma)).encode())
        panels = [panel for row in rows for panel in row if panel]
        for title, samples in (("", real), *panels, *dict(atoms).items()):
            digest.update(title.encode() + np.asarray([] if samples is None else samples).tobytes())
        pixels = np.frombuffer(digest.digest()[:27], np.uint8).reshape(3, 3, 3)
        return pictures.save_pixels(path, pixels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "scatter", scatter)
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished run: (workdir, completed process of the command that made it)."""

    def make(folder):
        done = command(
            "trainers.run",
            "--config=configs/gaussians8_mp.py:tiny",
            "--config.num_batches=12",
            f"--workdir={folder / 'run'}",
        )
        assert done.returncode == 0, done.stderr
        (folder / "done.pickle").write_bytes(pickle.dumps(done))

    folder = shared_folder(tmp_path_factory, "finished", make)
    return folder / "run", pickle.loads((folder / "done.pickle").read_bytes())


def photograph() -> np.ndarray:
    """A real photograph that ships with matplotlib: uint8 [600, 512, 3]."""
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        return np.asarray(Image.open(file).convert("RGB"))


def encoded(pixels, kind, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def lsun(tmp_path_factory):
    """A small LMDB in LSUN's layout: JPEG, WebP, grey, odd sizes, two corrupt records."""
    folder = tmp_path_factory.mktemp("lsun") / "bedroom_train_lmdb"
    folder.mkdir()
    photo = photograph()
    values = []
    for i in range(22):
        top, left = 11 * i, 7 * i
        part = photo[top : top + 256 + i, left : left + 300 - 3 * i]
        values.append(encoded(part, "WEBP" if i % 2 else "JPEG", quality=90))
    values.append(encoded(np.asarray(Image.fromarray(photo).convert("L")), "JPEG"))
    values[5] = values[5][: len(values[5]) // 3]  # cut short
    values[8] = b"no image at all"
    with lmdb.open(str(folder), map_size=2**26) as environment, environment.begin(write=True) as t:
        for i, value in enumerate(values):
            # As LSUN's: hexadecimal digests; one ends in a zero byte to try the key list.
            t.put(f"{i:040x}".encode() + b"\0" * (i == 3), value)
    return folder
