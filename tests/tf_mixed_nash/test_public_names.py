"""Every public name says what it takes, and has an example that runs."""

import doctest
import importlib
import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mixed_nash

# What is no class and no function says what it is at the head of its module.
MODULES = {"ALGORITHMS": "algorithms", "OBJECTIVES": "games.objectives"}


def described_by(name):
    """Whose docstring it is."""
    if name in MODULES:
        return importlib.import_module(f"tf_mixed_nash.{MODULES[name]}")
    return getattr(tf_mixed_nash, name)


# MixedNashGAN's examples are run by mixed_nash_gan/test_gan.py.
@pytest.mark.parametrize("name", sorted({*tf_mixed_nash.__all__} - {"MixedNashGAN"}))
def test_the_example_of_a_public_name_runs(name):
    names = {other: getattr(tf_mixed_nash, other) for other in tf_mixed_nash.__all__}
    globs = {**names, "np": np, "tf": tf, "keras": keras}
    finder = doctest.DocTestFinder(recurse=False)
    (test,) = finder.find(described_by(name), name, globs=globs)
    assert test.examples, "no example"
    said = []
    result = doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert not result.failed, "".join(said)


def test_every_argument_of_a_public_name_is_described():
    """By a line `name: ...` under Args; a NamedTuple's fields under Attributes."""
    missing = []
    for name in set(tf_mixed_nash.__all__) - MODULES.keys():
        value = getattr(tf_mixed_nash, name)
        if issubclass(value if inspect.isclass(value) else int, Exception):
            continue
        parameters = list(inspect.signature(value).parameters)
        text = inspect.getdoc(value)
        missing += [f"{name}({p})" for p in parameters if not described(p, text)]
    assert missing == []


def described(parameter, text):
    lines = {line.strip() for line in text.splitlines()}
    names = (f"{parameter}:", f"**{parameter}:", f"*{parameter}:")
    return any(line.startswith(names) for line in lines)
