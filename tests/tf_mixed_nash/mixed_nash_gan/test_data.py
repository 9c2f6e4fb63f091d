"""Data that a user gives to fit and evaluate: read once, checked before, the same on resuming."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tf_mixed_nash.mixed_nash_gan.conftest import game, net, points
from tf_mixed_nash import InputError, MixedNashGAN
from tf_mixed_nash.games.objectives import Losses
from trainers.workdir.folder import whole_lines

LABELS = np.arange(16) % 3
ONE_HOT = np.eye(3, dtype=np.float32)[LABELS]
TINY = {"batch_size": 8, "num_batches": 4, "steps_per_epoch": 2, "verbose": 0}
rows = tf.data.Dataset.from_tensor_slices


class Items(keras.utils.PyDataset):
    """Mini-batches of some rows, the last one shorter."""

    def __init__(self, x, size=8):
        super().__init__()
        self.x, self.size = x, size

    def __len__(self):
        return -(-len(self.x) // self.size)

    def __getitem__(self, i):
        return self.x[self.size * i :][: self.size]


def conditional():
    return MixedNashGAN(net(5, 2, 1), net(5, 1, 3), algorithm="sgd", num_classes=3)


def fit(data=None, gan=None, step_size=1e-3, **options):
    gan = gan or game()
    gan.compile(step_size=step_size, seed=4)
    return gan.fit(points(16) if data is None else data, **{**TINY, **options})


def until(data, m, value=np.nan):
    """A function whose mini-batch m has a number that is not finite."""

    def batch(number, size):
        x = np.resize(data, (size, 2)).astype(np.float64)
        x[0, 0] = value if number == m else x[0, 0]
        return x

    return batch


@tf.function
def in_graph(m, size):
    """The same for mini-batch 1, inside the compiled steps."""
    return tf.where(m == 1, np.float32(np.nan), tf.constant(points(16)[:8]))


# What scores compare with.

KINDS = {
    "rows": rows,
    "mini-batches": lambda x: rows(x).batch(7),
    "without end": lambda x: rows(x).repeat(),
    "of unknown length": lambda x: rows(x).filter(lambda _: True),
    "items": lambda x: Items(x, 7),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_data_set_scores_as_the_array_of_its_rows(kind, trained):
    real = points(40, seed=1)
    assert trained.evaluate(KINDS[kind](real)) == trained.evaluate(real)


def test_held_out_data_sets_and_arrays_score_alike():
    def scores(data):
        history = fit(validation_data=data, score_every=4).history
        return {k: v for k, v in history.items() if k.startswith("score/")}

    real = points(40, seed=1)
    known = scores(real)
    assert known
    assert scores(rows(real).batch(16)) == known


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation_data": points(40)[:, :1]}, r"makes \[2\] and the real data .* of \[1\]"),
        ({"validation_data": rows(points(40)[:, :1])}, r"makes \[2\] and the real data .* of \[1"),
        ({"validation_data": points(11)}, "at least 12 rows, and the halves have 5"),
        ({"validation_data": lambda m, size: points(16)[:size]}, "must return 4000 rows"),
        ({"validation_data": points(40) * np.float64(1e300)}, "beyond float32"),
        ({"data": points(8), "score_every": 2}, "at least 12 rows, and the halves have 4"),
        ({"data": points(8), "workdir": "run"}, "at least 12 rows, and the halves have 4"),
        ({"data": lambda m, size: points(16)[:size], "score_every": 2}, "as validation_data"),
        ({"validation_data": points(40), "validation_split": 0.5}, "Give one"),
    ],
)
def test_what_cannot_be_compared_with_is_refused_before(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        fit(**options)
    assert not list(tmp_path.iterdir())


def test_evaluate_refuses_what_is_not_finite(trained):
    with pytest.raises(InputError, match="beyond float32"):
        trained.evaluate(points(40) * np.float64(1e300))


# What it is.


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ((points(16), ONE_HOT), {}, r"integers \[16\].*y.argmax"),
        (points(16), {"labels": ONE_HOT}, r"integers \[16\].*y.argmax"),
        (rows((points(16), ONE_HOT)), {}, r"integers \[8\].*y.argmax"),
        ((points(16), LABELS[:5]), {}, r"integers \[16\].*got int64 \[5\]"),
        ((points(16), LABELS), {"labels": LABELS}, "either from the data.*beside a pair"),
        (rows(points(16)), {"labels": LABELS}, "either from the data.*beside _TensorSliceD"),
        ((points(16), np.ma.masked_equal(LABELS, 1)), {}, "labels hold 5 masked values"),
    ],
)
def test_labels_that_are_none_are_one_sentence(data, options, message):
    with pytest.raises(InputError, match=message):
        fit(data, conditional(), **options)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ((points(16), points(16)), {}, r"second of a pair \(x, y\)"),
        ((points(16), LABELS, LABELS), {}, r"is \(x, y\), data and labels; got 3 values"),
        (((points(16), LABELS),) * 2, {}, "got two tuples. Give one of them"),
        ((points(16)[:, 0], LABELS), {}, r"must be rows .*got shape \[16\]"),
        (points(16), {"labels": LABELS}, "num_classes=0"),
        (np.ma.masked_greater(points(16), 0.0), {}, "The data hold .* masked values"),
        (rows(["a", "b"]), {}, "must have real numbers, got string"),
        (rows(points(16)[:, 0]), {}, "must be rows"),
        (lambda: iter([points(16)]), {}, r"must take \(m, size\).*takes \(\)"),
        (points(16) * np.float64(1e300), {}, r"reach 1.*e\+300, and .*float32"),
    ],
)
def test_data_that_are_none_are_one_sentence(data, options, message):
    with pytest.raises(InputError, match=message):
        fit(data, **options)


# On the same workdir.


class Stop(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = True


@pytest.mark.usefixtures("without_publishing", "quick_pictures")
def test_other_data_are_not_trained_on(tmp_path):
    def go_on(data, **options):
        return fit(data, workdir=tmp_path, picture_every=10**6, **options)

    data = points(40)
    go_on(data, callbacks=[Stop()])
    lines = whole_lines(tmp_path / "metrics.jsonl")
    with pytest.raises(InputError, match="holds a run of other data"):
        go_on(data + 1.0)
    with pytest.raises(InputError, match="with the same validation_split"):
        go_on(data, validation_split=0.5)
    assert whole_lines(tmp_path / "metrics.jsonl") == lines
    go_on(data)
    with pytest.raises(InputError, match="holds a run of other data"):
        go_on(data + 1.0)
    with pytest.warns(UserWarning, match="as far as can be told") as said:
        go_on(rows(data))
    assert len(said) == 1


@pytest.mark.usefixtures("without_publishing", "quick_pictures")
def test_another_function_is_said(tmp_path):
    def go_on(factor, **options):
        def objective(real, fake):
            return Losses(-tf.reduce_mean(fake), factor * tf.reduce_mean(fake - real))

        fit(points(40), game(objective=objective), workdir=tmp_path, **options)

    go_on(1.0, callbacks=[Stop()])
    with pytest.warns(UserWarning, match="the objective is another function"):
        go_on(2.0)


# When it is not finite.


@pytest.mark.parametrize(
    ("data", "bad"),
    [
        (until(points(16), 2), 2),
        (until(points(16), 3, 1e300), 3),
        (rows(np.where(np.arange(40)[:, None] == 17, np.nan, points(40))), 2),
        (in_graph, 1),
    ],
)
def test_a_mini_batch_that_is_not_finite_is_named(data, bad):
    with pytest.raises(FloatingPointError, match=f"the data of mini-batch {bad} hold NaN"):
        fit(data, game(algorithm="mirror_prox_gan" if bad == 3 else "sgd"))


def test_a_divergence_of_finite_data_is_one_of_steps():
    with pytest.raises(FloatingPointError, match="smaller step_size"):
        fit(until(points(16), -1), game(gradient_penalty=1e30), step_size=1e9)


@pytest.mark.usefixtures("without_publishing", "quick_pictures")
def test_no_rollback_helps_against_data(tmp_path, capsys):
    options = {"workdir": tmp_path, "on_divergence": "rollback", "checkpoint_every": 2}
    with pytest.raises(FloatingPointError, match=r"mini-batch 2 hold NaN.*postmortem_1\.json"):
        fit(until(points(16), 2), **options)
    assert "the data of mini-batch 2 hold NaN" in capsys.readouterr().err
    assert not (tmp_path / "postmortem_2.json").exists()
