"""Runs 50 mini-batches and saves every variable: python -m tests.trainers.system.replicas JOB KIND
PATH [DATA]

JOB is default or noiseless (one device, without noise), mirrored (2 logical CPUs) or multi_worker
(one of TF_CONFIG's); KIND an algorithm of the plane, or images.
"""

import sys
from collections import Counter

import numpy as np
import tensorflow as tf

from tests.trainers.conftest import tiny, tiny_images
from tf_mixed_nash.training.loop import Loop
from trainers.experiment.build import build
from trainers.system import devices


def _check_placement(made: tf.distribute.Strategy, loop: Loop) -> None:
    # What each replica sees of the parameters, inside the strategy.
    theta = loop.last().theta
    seen = made.experimental_local_results(made.run(lambda z: z * 1.0, args=(theta,)))
    assert len(seen) == 2
    assert all((x.numpy() == theta.numpy()).all() for x in seen)
    # Where it is placed: one state, on the first device; the products of the fields on both alike.
    assert {v.device[-5:] for v in loop.variables.values()} == {"CPU:0"}
    graph = loop._parts.graph
    loops = (op for op in graph.get_operations() if op.type in ("While", "StatelessWhile"))
    body = graph._get_function(next(loops).get_attr("body").name.encode()).graph
    kinds = ("MatMul", "BatchMatMulV2", "Conv2D")
    products = Counter(op.device[-5:] for op in body.get_operations() if op.type in kinds)
    assert set(products) == {"CPU:0", "CPU:1"}, products
    assert len(set(products.values())) == 1, products


def main(job: str, kind: str, path: str, data: str = "") -> None:
    """The command."""
    strategy = job.replace("noiseless", "default")
    if strategy == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, two)
    tf.config.experimental.enable_op_determinism()
    made = devices.make_strategy(strategy)  # before anything else asks for a device
    # In float64: 50 steps of RMSProp on fresh networks amplify float32's rounding a thousandfold.
    same = {"precision": "float64", "num_batches": 50, "batch_size": 16, "strategy": strategy}
    same |= {"step_size": 1e-3, "temperature": 0.0 if job == "noiseless" else 1e-4}
    if kind == "images":
        same |= {"model__generator_normalization": "layer", "data__path": data}
        config = tiny_images(model__discriminator_normalization="layer", **same)
    else:
        config = tiny(kind, **same)
    loop = Loop(build(config))
    for until in (20, 50):
        loop.advance(until)
    if made is not None and devices.workers(strategy).count == 1:
        _check_placement(made, loop)
    np.savez(path, **{n.replace("/", "."): np.array(v) for n, v in loop.tensors().items()})
    assert loop.step == 50


if __name__ == "__main__":
    main(*sys.argv[1:])
