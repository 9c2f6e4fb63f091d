"""Which way of compiling is chosen where the config leaves it to us."""

import pytest
import tensorflow as tf

from tf_mixed_nash.compile import WAYS
from trainers.experiment import ways
from trainers.system import devices


@pytest.mark.parametrize(
    ("gpus", "replicas", "way", "why"),
    [(0, 1, "parts", "CPUs"), (1, 1, "whole", "GPU"), (2, 2, "parts", "this run has 2")],
)
def test_auto_is_whole_on_one_gpu(monkeypatch, gpus, replicas, way, why):
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["GPU"] * gpus)
    monkeypatch.setattr(devices, "num_replicas", lambda strategy: replicas)
    choice = ways.choose("auto", "default")
    assert (choice.asked, choice.way) == ("auto", way)
    assert why in choice.reason


@pytest.mark.parametrize("way", WAYS)
def test_a_config_has_its_way(way):
    assert ways.choose(way, "default") == (way, way, "the config says so")
