"""The mathematics is tested in graphs as they are written."""

import pytest

# What is compared with NumPy to a tolerance, in many small graphs that run a few times each:
# rewriting them takes a quarter of these tests. Runs (training, mixed_nash_gan, the trainers and
# export), in which bits count, have TensorFlow's optimisers as users do; so do the slow tests, and
# with them other cases of the tests here.
_AS_WRITTEN = ("games", "methods", "metrics", "solvers", "test_algorithms", "test_particles_gan")


@pytest.fixture(scope="module", autouse=True)
def graphs_as_they_are_written(request):
    """TensorFlow's graph optimisers (Grappler) are off, in `_AS_WRITTEN`."""
    room = request.module.__name__.removeprefix("tests.tf_mixed_nash.").split(".")[0]
    if room not in _AS_WRITTEN or request.config.option.markexpr == "slow":
        yield
        return
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
