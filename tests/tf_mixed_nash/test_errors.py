"""The errors that are the user's to fix."""

import sys

import numpy as np
import pytest

from tf_mixed_nash.errors import InputError, extra, unknown
from tf_mixed_nash.metrics.scorecard import wasserstein2
from trainers.system.quiet import hidden
from trainers.tasks.data.sources import LmdbSource, TfdsSource


def without(monkeypatch, package):
    for name in [n for n in sys.modules if n.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    return hidden(package)


def test_a_missing_package_names_the_extra_that_brings_it():
    says = (
        r"Maps needs the package no_such\. Install the extra: pip install 'tf_mixed_nash\[maps\]'\."
    )
    with pytest.raises(InputError, match=says), extra("maps", "Maps"):
        import no_such  # noqa: F401


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("mirror-prox-gan", "Unknown name 'mirror-prox-gan'. Did you mean 'mirror_prox_gan'? Cho"),
        ("MIRROR_GAN", "Did you mean 'mirror_gan'? Choose one of: mirror_gan, mirror_prox_gan."),
        (" Mirror GAN", "Did you mean 'mirror_gan'? Choose one of: mirror_gan, mirror_prox_gan."),
        ("walk", "Unknown name 'walk'. Choose one of: mirror_gan, mirror_prox_gan."),
        (3, "Unknown name 3. Choose one of: mirror_gan, mirror_prox_gan."),
        (None, "Unknown name None. Choose one of"),
    ],
)
def test_a_word_that_is_none_is_told_with_the_nearest_and_all(given, says):
    assert says in str(unknown("name", given, ["mirror_gan", "mirror_prox_gan"]))


def test_a_flag_is_told_as_it_is_written_and_what_else_can_be_done():
    said = unknown("--sizes", "28x28", [28, 32], "; or none for all", of="some of")
    assert str(said) == "Unknown --sizes=28x28. Choose some of: 28, 32; or none for all."


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError), extra("maps", "Maps"):
        _ = 1 / 0
    with extra("maps", "Maps"):
        import json  # noqa: F401


def test_what_needs_an_extra_says_so(monkeypatch, tmp_path):
    with (
        without(monkeypatch, "lmdb"),
        pytest.raises(InputError, match=rf"The LMDB data at {tmp_path} needs the package lmdb"),
    ):
        LmdbSource(tmp_path)
    with (
        without(monkeypatch, "tensorflow_datasets"),
        pytest.raises(
            InputError, match=r"'mnist' needs the package tensorflow_datasets\. .*\[tfds"
        ),
    ):
        TfdsSource("mnist", "train", None)
    with (
        without(monkeypatch, "ot"),
        pytest.raises(InputError, match=r"unequal sizes needs the package ot\. .*\[metrics\]"),
    ):
        wasserstein2(np.zeros((2, 2)), np.zeros((3, 2)))
