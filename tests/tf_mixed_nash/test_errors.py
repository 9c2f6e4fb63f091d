"""The errors that are the user's to fix."""

import sys

import numpy as np
import pytest

from tf_mixed_nash.errors import InputError, extra
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
