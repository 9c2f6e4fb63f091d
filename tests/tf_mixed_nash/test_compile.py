"""`fused` compiles with XLA, wherever it is called."""

import numpy as np
import tensorflow as tf

from tf_mixed_nash.compile import fused


def test_fused_functions_are_compiled_once_and_also_inside_a_graph():
    traces = []

    @fused
    def square_and_flag(x, state):
        """Documented."""
        traces.append(x.shape)
        return x**2, {"all": tf.reduce_all(x > 0), **state}

    def call(x):
        return square_and_flag(x, {"y": x + 1.0})

    x = tf.constant([1.0, 2.0])
    graph = tf.function(call)
    for _ in range(2):
        for y, logs in (call(x), graph(x)):
            np.testing.assert_array_equal(y, [1.0, 4.0])
            np.testing.assert_array_equal(logs["y"], [2.0, 3.0])
            assert logs["all"]
    assert traces == [x.shape]
    operations = graph.get_concrete_function(x).graph.get_operations()
    assert any("_XlaMustCompile" in op.node_def.attr for op in operations)
    assert square_and_flag.__doc__ == "Documented."
