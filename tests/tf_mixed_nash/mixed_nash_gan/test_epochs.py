"""Keras's callbacks, unmodified, on our loop."""

import csv

import keras
import numpy as np
import pytest

from tests.tf_mixed_nash.mixed_nash_gan.conftest import game, points
from tf_mixed_nash import MixedNashGAN
from tf_mixed_nash.mixed_nash_gan import epochs as sut


class FakeLoop:
    """A state of one number."""

    value = 0.0

    def tensors(self):
        return {"x": np.float64(self.value)}

    def assign(self, tensors):
        self.value = float(tensors["x"])


def record(step, score=0.0):
    return {"step": step, "loss/theta": 1.0, "loss/w": 2.0, "score/last/ks_max": score}


def run(callbacks, scores, steps=3):
    """Epochs of three mini-batches with these scores; how far it came."""
    loop, saved = FakeLoop(), []
    num = steps * len(scores)
    epochs = sut.Epochs(callbacks, steps, num, lambda loop, path: saved.append((path, loop.value)))
    epochs.start(0)
    step = 0
    for i, score in enumerate(scores):
        loop.value, step = float(i), steps * (i + 1)
        if epochs.observe(loop, record(step, score)):
            break
    epochs.end(loop)
    return epochs, loop, saved, step


def test_the_order_of_the_calls():
    calls = []
    names = ("train_begin", "epoch_begin", "train_batch_begin", "train_batch_end", "epoch_end")
    note = {
        f"on_{n}": lambda *a, n=n, logs=None: calls.append((n, *a[:1]))
        for n in (*names, "train_end")
    }
    run([keras.callbacks.LambdaCallback(**note)], [0.0, 0.0])
    calls = [(n, *(a for a in rest if isinstance(a, int))) for n, *rest in calls]
    assert calls == [
        ("train_begin",),
        ("epoch_begin", 0), ("train_batch_begin", 2), ("train_batch_end", 2), ("epoch_end", 0),
        ("epoch_begin", 1), ("train_batch_begin", 2), ("train_batch_end", 2), ("epoch_end", 1),
        ("train_end",),
    ]  # fmt: skip


def test_early_stopping_watches_a_score_and_restores_the_best():
    stop = keras.callbacks.EarlyStopping(
        "score/last/ks_max", mode="min", patience=2, restore_best_weights=True
    )
    epochs, loop, _, step = run([stop], [0.5, 0.2, 0.3, 0.4, 0.1])
    assert step == 12
    assert loop.value == 1.0  # of the second epoch
    assert epochs.history.epoch == [0, 1, 2, 3]
    assert epochs.history.history["loss"] == [3.0] * 4
    assert epochs.history.history["step"] == [3, 6, 9, 12]


def test_model_checkpoint_saves_the_whole_game(tmp_path):
    best = keras.callbacks.ModelCheckpoint(
        str(tmp_path / "{epoch}.keras"),
        monitor="score/last/ks_max",
        mode="min",
        save_best_only=True,
    )
    every = keras.callbacks.ModelCheckpoint(
        str(tmp_path / "w.weights.h5"), monitor="loss", save_weights_only=True, save_freq=6
    )
    _, _, saved, _ = run([best, every], [0.5, 0.7, 0.3, 0.4])
    kept = [(path.name, value) for path, value in saved]
    assert [x for x in kept if x[0] != "w.weights.h5"] == [("1.keras", 0.0), ("3.keras", 2.0)]
    assert [x for x in kept if x[0] == "w.weights.h5"] == [
        ("w.weights.h5", 1.0),
        ("w.weights.h5", 3.0),
    ]


def test_terminate_on_nan_stops():
    epochs, *_ = run([keras.callbacks.TerminateOnNaN()], [0.0])
    assert epochs.diverged(5)
    epochs, *_ = run([], [0.0])
    assert not epochs.diverged(5)


def test_csv_and_tensorboard_get_every_entry(tmp_path):
    board = keras.callbacks.TensorBoard(str(tmp_path / "board"))
    run([keras.callbacks.CSVLogger(str(tmp_path / "log.csv")), board], [0.5, 0.25])
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["score/last/ks_max"]) for row in rows] == [0.5, 0.25]
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert list((tmp_path / "board").rglob("events.*"))


@pytest.mark.usefixtures("without_publishing", "quick_pictures")
def test_a_fit_stops_early_saves_its_best_and_trains_on(tmp_path):
    seen = []
    best = str(tmp_path / "best.keras")

    def fit(callbacks):
        gan = game()
        gan.compile(step_size=1e-2, seed=4)
        history = gan.fit(
            points(64), validation_split=0.5, batch_size=8, num_batches=8, steps_per_epoch=2,
            score_every=2, workdir=tmp_path / "run", callbacks=callbacks, verbose=0,
            picture_every=10**6,
        )  # fmt: skip
        return gan, history

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(logs)
            self.model.stop_training = epoch == 1

    save = keras.callbacks.ModelCheckpoint(best, monitor="score/last/ks_max", mode="max")
    back = keras.callbacks.EarlyStopping("step", mode="min", restore_best_weights=True, patience=9)
    gan, history = fit([Stop(), back, save])
    assert history.history["step"] == [2, 4]
    assert not (tmp_path / "run/scorecard.json").exists()
    assert seen[0]["score/last/ks_max"] == history.history["score/last/ks_max"][0]
    saved = MixedNashGAN.load(best)
    assert (gan._trained.step, saved._trained.step) == (2, 4)
    ended = MixedNashGAN.load(tmp_path / "run")
    np.testing.assert_array_equal(saved.sample(4, answer="last"), ended.sample(4, answer="last"))
    _, history = fit([])
    assert history.history["step"] == [2, 4, 6, 8]
    assert (tmp_path / "run/scorecard.json").exists()
