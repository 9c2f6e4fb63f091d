"""The table of data sets names the experiments that are there, each of its own data set."""

import importlib
from pathlib import Path

import pytest

import configs


def test_one_experiment_of_every_data_set_is_in_the_table():
    """That of two phases, where there is one."""
    files = Path(configs.__path__[0]).glob("*_*.py")
    here = sorted(f"configs.{p.stem}" for p in files if p.stem.endswith(("_mp", "_unbalanced")))
    assert sorted(configs.CONFIGS.values()) == here


@pytest.mark.parametrize("dataset", configs.CONFIGS)
def test_an_experiment_is_of_its_data_set(dataset):
    module = importlib.import_module(configs.CONFIGS[dataset])
    assert module.get_config().dataset == dataset
