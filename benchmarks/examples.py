"""The examples' models, trained by MixedNashGAN as the examples do, and by plain Keras with Adam.

    python -m benchmarks.examples [--examples=two_moons,table,...|all] [--seeds=0,1,2]
        [--num_batches=N] [--budget=MIN] [--tfds_dir=DIR]
    python -m benchmarks.examples --render      # docs/results/examples.md, from the records alone

The rival is a `keras.Model` with a `train_step`, as keras.io's examples have it: the same models
from the same initial weights, the same mini-batches in the same order, the same objective and
penalties; Adam with the settings of RIVALS, on vectors by WGAN-GP also with those of its paper
(PUBLISHED). All are scored by the same function on the same held-out rows. What ended goes into
docs/results/examples.json, which is committed. The same command goes on where the last one stopped,
also inside a training.
"""

from __future__ import annotations

import contextlib
import io
import json
import runpy
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from tf_mixed_nash.errors import InputError, unknown
from trainers.campaigns import cells
from trainers.system import cli
from trainers.system.files import make_writable, save_arrays, write_atomically, write_json
from trainers.system.quiet import import_tensorflow
from trainers.tasks.tables import Column

__all__ = ["PUBLISHED", "RIVALS", "Rival", "page"]

_ROOT = Path(__file__).resolve().parents[1]
RECORDS, PAGE = Path("docs/results/examples.json"), Path("docs/results/examples.md")
ANSWERS = ("last", "ema", "mixture")
_NEAREST = 5
_MOST_SAMPLES = 10_000
_CHUNK = 500  # mini-batches of the rival between two looks at the clock


class Rival(NamedTuple):
    """How plain Keras trains an example's models: both players by Adam, one after the other.

    Attributes:
      title: of the example.
      learning_rate: of both.
      beta_1: of Adam; 0.5 is usual for GANs since DCGAN.
      beta_2: the same; 0.9 is WGAN-GP's.
      critic_steps: of the discriminator for one of the generator.
      fresh: each of them on real data of its own, as WGAN-GP's paper has it: a mini-batch is one
        step of the discriminator. Else all of them on one mini-batch, as keras.io's example has.
    """

    title: str
    learning_rate: float
    beta_1: float = 0.5
    beta_2: float = 0.999
    critic_steps: int = 1
    fresh: bool = False


RIVALS = {
    "two_moons": Rival("Two moons, WGAN with a gradient penalty of 0.1", 1e-3, beta_2=0.9),
    "table": Rival("A table of ten columns, WGAN-GP 1", 1e-3, beta_2=0.9),
    "objective_and_schedule": Rival("Eight clusters, smoothed logistic losses, R1 0.1", 1e-3),
    "fashion_mnist": Rival("Fashion-MNIST, DCGAN with Dropout, non-saturating", 2e-4),
    "wgan_gp": Rival(
        "Fashion-MNIST, residual WGAN-GP 10", 2e-4, beta_2=0.9, critic_steps=3, fresh=True
    ),
    "class_conditional": Rival("Fashion-MNIST by class, hinge", 2e-4),
}
# Gulrajani et al. 2017: a smaller step and five of the critic; beside the one above.
PUBLISHED = {
    name: RIVALS[name]._replace(learning_rate=1e-4, critic_steps=5)
    for name in ("two_moons", "table")
}
_KINDS = {"rival": RIVALS, "published": PUBLISHED}  # by their key in a record
_COLUMNS = {
    "energy_distance": Column("energy distance", 4),
    "fid": Column("FID", 2),
    "kid": Column("KID", 4),
    "precision": Column("precision", 3),
    "recall": Column("recall", 3),
    "density": Column("density", 3),
    "coverage": Column("coverage", 3),
    "ks_max": Column("KS, worst column", 3),
}


class _OutOfTimeError(Exception):
    """The budget is spent; a checkpoint is written."""


# Ours: the example itself.


@contextlib.contextmanager
def _watched(workdir: Path, deadline: float) -> Iterator[SimpleNamespace]:
    """Inside, `MixedNashGAN.fit` trains in a folder and in time; gives what it was called with."""
    import keras

    from tf_mixed_nash import MixedNashGAN

    seen = SimpleNamespace()
    fit = MixedNashGAN.fit

    class Deadline(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            model: Any = self.model
            model.stop_training |= time.monotonic() > deadline

    def watched(gan, data, **options):
        seen.gan, seen.data, seen.options = gan, data, dict(options)
        files = {"workdir": workdir, "picture_every": 10**9, "score_every": 0, "verbose": 0}
        history = fit(gan, data, **{**options, **files, "callbacks": [Deadline()]})
        if gan._trained.step < options["num_batches"]:
            raise _OutOfTimeError
        return history

    MixedNashGAN.fit = watched
    try:
        yield seen
    finally:
        MixedNashGAN.fit = fit


def _run(name: str, seed: int, workdir: Path, deadline: float) -> SimpleNamespace:
    """Runs an example to its end: its `gan`, `data`, `options` of fit, and `held_out` rows."""
    import keras

    f = flags.FLAGS
    arguments = [f"--seed={seed}", *(["--tiny"] if f.tiny else [])]
    arguments += [f"--num_batches={f.num_batches}"] if f.num_batches else []
    arguments += [f"--tfds_dir={f.tfds_dir}"] if f.tfds_dir else []
    script = _ROOT / "examples" / f"{name}.py"
    before, path = sys.argv, sys.path[:]
    keras.utils.set_random_seed(seed)  # of the models' initial weights
    try:
        sys.argv = [str(script), *arguments]
        sys.path.insert(0, str(script.parent))
        with _watched(workdir, deadline) as seen, contextlib.redirect_stdout(io.StringIO()):
            names = runpy.run_path(str(script))
    finally:
        sys.argv, sys.path[:] = before, path
    seen.held_out = names["held_out"]
    return seen


# The rival.


def keras_gan(gan: Any, rival: Rival, seed: int) -> Any:
    """A game's models as one `keras.Model` with a `train_step`; it trains the models themselves.

    Args:
      gan: a `MixedNashGAN`.
      rival: of Adam.
      seed: of the latents and mixing numbers.
    """
    import keras
    import tensorflow as tf

    from tf_mixed_nash.games.objectives import OBJECTIVES

    configuration = gan._configuration
    objective: Any = configuration.objective
    objective = objective if callable(objective) else OBJECTIVES[objective]
    penalties, k = configuration.penalties, gan.num_classes

    class KerasGan(keras.Model):
        """As in keras.io's examples."""

        def __init__(self):
            super().__init__()
            self.generator, self.discriminator = configuration.models
            self.draws = keras.random.SeedGenerator(seed)

        def compile(self, d_optimizer, g_optimizer):  # pyright: ignore
            super().compile(jit_compile=False)
            self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer
            d_optimizer.build(self.discriminator.trainable_variables)
            g_optimizer.build(self.generator.trainable_variables)

        def state(self):
            """Everything that a step changes."""
            return [
                *(v for m in (self.generator, self.discriminator) for v in m.variables),
                *(v for o in (self.d_optimizer, self.g_optimizer) for v in o.variables),
                self.draws.state,
            ]

        def generated(self, y, num, training=True):
            z = keras.random.normal([num, gan.latent_dim], seed=self.draws)
            return self.generator([z, y] if k else z, training=training)

        def judged(self, x, y):
            return self.discriminator([x, y] if k else x, training=True)

        def slopes(self, x, y):
            with tf.GradientTape() as tape:
                tape.watch(x)
                logits = self.judged(x, y)
            axes = list(range(1, x.shape.rank))
            return tf.reduce_sum(tf.square(tape.gradient(logits, x)), axis=axes)

        def penalty(self, x, fake, y):
            total = 0.0
            if weight := penalties["gradient_penalty"]:
                a = keras.random.uniform([x.shape[0], *[1] * (x.shape.rank - 1)], seed=self.draws)
                norms = tf.sqrt(self.slopes(x + a * (fake - x), y) + 1e-12)
                total += weight * tf.reduce_mean(tf.square(norms - 1.0))
            if weight := penalties["r1"]:
                total += weight * tf.reduce_mean(self.slopes(x, y)) / 2.0
            return total

        def train_step(self, batch):  # pyright: ignore
            x, y, num = batch, None, batch.shape[0]
            if k:  # classes are constant channels behind the data's
                rows = tf.reshape(batch, [num, -1, batch.shape[-1]])
                x, y = batch[..., :-k], tf.argmax(rows[:, 0, -k:], axis=1)
            w, theta = self.discriminator.trainable_variables, self.generator.trainable_variables
            for _ in range(1 if rival.fresh else rival.critic_steps):
                fake = self.generated(y, num)
                with tf.GradientTape() as tape:
                    loss = objective(self.judged(x, y), self.judged(fake, y)).discriminator
                    loss += self.penalty(x, fake, y)
                self.d_optimizer.apply(tape.gradient(loss, w), w)

            def generator_step():
                with tf.GradientTape() as tape:
                    answers = self.judged(self.generated(y, num), y)
                    own = objective(tf.zeros_like(answers), answers).generator
                self.g_optimizer.apply(tape.gradient(own, theta), theta)
                return own

            if not rival.fresh:
                return {"d_loss": loss, "g_loss": generator_step()}
            due = self.d_optimizer.iterations % rival.critic_steps == 0
            return {"d_loss": loss, "g_loss": tf.cond(due, generator_step, lambda: 0.0 * loss)}

        def sample(self, num):
            """Samples at rest, of classes in turn: [num, ...]."""
            parts = []
            for start in range(0, num, 500):
                rows = min(500, num - start)
                y = (start + tf.range(rows)) % k if k else None
                parts.append(self.generated(y, rows, training=False).numpy())
            return np.concatenate(parts)

    def adam():
        return keras.optimizers.Adam(rival.learning_rate, rival.beta_1, rival.beta_2)

    model = KerasGan()
    model.compile(adam(), adam())
    return model


def mini_batches(seen: SimpleNamespace, seed: int) -> Any:
    """The feed of the very mini-batches that an example's `fit` saw; see `training.feeds`."""
    import tensorflow as tf

    from trainers.tasks.data import user_data

    size, gan = seen.options["batch_size"], seen.gan
    data = user_data.make(seen.data, size, gan._shape)
    return data.feed(user_data.order_seed(seed, "order"), size, gan.num_classes, tf.float32)


def _rival(seen: SimpleNamespace, rival: Rival, seed: int, path: Path, deadline: float) -> Any:
    """Trains the rival to its end, from where its file is."""
    import tensorflow as tf

    model, step = keras_gan(seen.gan, rival, seed), 0
    feed, total = mini_batches(seen, seed), seen.options["num_batches"]
    if path.exists():
        with np.load(path) as saved:
            step = int(saved["step"])
            for i, variable in enumerate(model.state()):
                variable.assign(saved[str(i)])
    while step < total:
        if time.monotonic() > deadline:
            raise _OutOfTimeError
        end = min(feed.limit(step, total), step + _CHUNK)
        block = feed.block(step, end)
        batches = tf.data.Dataset.range(step, end)
        batches = batches.map(lambda m, block=block: feed.batch_at(block, m))
        model.fit(batches, shuffle=False, verbose=0)
        step = end
        values = {str(i): v.numpy() for i, v in enumerate(model.state())}
        save_arrays(path, {"step": np.array(step), **values})
    return model


# Scores.


def scorer(held_out: np.ndarray) -> Callable[[np.ndarray], dict[str, Any]]:
    """What scores rows: of images the committed features of Fashion-MNIST, else `vector_scores`."""
    from trainers.tasks import features, image_scores, vector_scores
    from trainers.tasks.imaging import to_pixels
    from trainers.tasks.kinds import ImageCard

    if held_out.ndim == 2:
        return lambda rows: vector_scores.scorecard(rows, held_out, _NEAREST)
    network = features.load("auto", "fashion_mnist", held_out.shape[-1])
    seen, guesses = network(held_out[:_MOST_SAMPLES])
    assert guesses is not None
    num, none = len(seen), np.zeros((0, 0), np.float32)
    real = image_scores.RealStatistics(np.arange(num), seen, seen, guesses.argmax(1), none)
    card = ImageCard(
        features="auto",
        num_samples=num,
        prdc_samples=5_000,
        nearest_k=_NEAREST,
        kid_subsets=50,
        kid_subset_size=1_000,
    )

    def score(images):
        pixels = images if images.dtype == np.uint8 else to_pixels(images)
        return image_scores.scorecard(pixels, real, network, card)

    return score


def _real(seen: SimpleNamespace, num: int) -> np.ndarray:
    """Rows of the training data, scored as if they were generated."""
    from trainers.tasks.base import SEED
    from trainers.tasks.data import user_data

    data = user_data.make(seen.data, seen.options["batch_size"], seen.gan._shape)
    return data.other(user_data.order_seed(SEED, "real"), num)[0]


def _of_one(
    name: str, seed: int, record: dict[str, Any], save: Callable[[], Any], deadline: float
) -> None:
    """Trains and scores what is missing of one example and seed.

    Raises:
      _OutOfTimeError: if the budget ends before.
    """
    import keras

    from trainers.system import provenance
    from trainers.tasks.base import SEED

    folder = Path(flags.FLAGS.out) / name / f"seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    keras.backend.clear_session()
    seen = _run(name, seed, folder / "ours", deadline)
    score, num = scorer(seen.held_out), min(len(seen.held_out), _MOST_SAMPLES)
    if "answers" not in record:
        facts = provenance.describe({"seed": seed})
        record |= {
            "algorithm": seen.gan.algorithm,
            "num_batches": seen.options["num_batches"],
            "batch_size": seen.options["batch_size"],
            "hardware": {k: facts["hardware"][k] for k in ("processor", "cores", "gpus")},
            "commit": facts["code"].get("commit"),
            "answers": {a: score(seen.gan.sample(num, SEED, answer=a)) for a in ANSWERS},
            "real": score(_real(seen, num)),
        }
        save()
    models = seen.gan._configuration.models  # they hold the initial weights
    variables = [v for model in models for v in model.variables]
    start = [v.numpy() for v in variables]
    for key, rivals in _KINDS.items():
        if name in rivals and key not in record:
            for variable, value in zip(variables, start, strict=True):
                variable.assign(value)
            model = _rival(seen, rivals[name], seed, folder / f"keras_{key}.npz", deadline)
            record[key] = {**score(model.sample(num)), "settings": rivals[name]._asdict()}
            save()


# The page.

_HEAD = """# The examples beside plain Keras

    python -m benchmarks.examples --examples=all     # what is missing, then this page
    python -m benchmarks.examples --render           # this page, from docs/results/examples.json

Each example of examples/ as it is (its algorithm and hyperparameters, `MixedNashGAN.fit`), beside
the same Keras models trained by a `keras.Model` with a `train_step` and Adam
(`benchmarks.examples`): the same initial weights, the same mini-batches, objective and penalties,
as many mini-batches. Ours are scored as the last iterate, its moving average and the mixture;
plain Keras has the last weights. Held-out rows are compared with as many samples, images in the
features of the committed network of Fashion-MNIST (docs/image_metrics.md: no Inception figures).
Means and standard errors over seeds. An outer step of Mirror-GAN and Mirror-Prox-GAN takes several
gradients, each of a mini-batch of its own, so that equal mini-batches are fewer steps. Ours have a
step size that falls to 0, but for those on images, and were tuned on other data of the plane; the
rivals have a constant one and were not tuned: "Keras, Adam" what many scripts begin with, one step
of the critic for one of the generator; "as in WGAN-GP" Adam with 0.0001 and five steps of the
critic, as that paper has it. The second rival was added because the first was weak where there is
a WGAN; no setting of ours was chosen by the numbers of this page but those on images, as said
below. Where "as in WGAN-GP" has not been run, the gap says little.
A section may be of fewer mini-batches than its example (`--num_batches`): the images' 2,000 and
3,000 are a fifth and a tenth of theirs. **The three examples on images were changed after their
first rows**: they have a constant step size and players by turns now, as plain Keras has. With a
step size that falls to 0 and both players at once, Fashion-MNIST's had an FID of 77.8 where plain
Keras had 33.3, and by class, with decay_2 = 0.9 besides, 221 where plain Keras had 70.6 (last
iterates, seed 0). WGAN-GP's, of twice the width and with one step of the critic for each of the
generator, had 91.4 after 2,000 mini-batches, where plain Keras with three on each had 12.0; both
take three now, each on a mini-batch of its own, so that they compute as much. Its settings are the
best of two that were tried on 1,500 mini-batches. So these settings were chosen by numbers of this
page, the rivals' were not.
"""


def page(runs: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Markdown of all that has ended.

    Args:
      runs: example -> seed -> record.
    """
    parts = [_HEAD]
    for name, rival in RIVALS.items():
        done = {s: r for s, r in runs.get(name, {}).items() if "rival" in r}
        parts.append(f"## {rival.title}\n")
        if done:
            parts.append(_table(name, rival, done))
        else:
            parts.append(f"Not run yet: `python -m benchmarks.examples --examples={name}`.\n")
    return "\n".join(parts)


def _table(name: str, rival: Rival, done: Mapping[str, Mapping[str, Any]]) -> str:
    records = list(done.values())
    first = records[0]
    columns = {k: c for k, c in _COLUMNS.items() if k in first["rival"]}
    rows = {
        f"ours/{answer}": cells.aggregate([r["answers"][answer] for r in records], columns)
        for answer in ANSWERS
    }
    rows["rival/last"] = cells.aggregate([r["rival"] for r in records], columns)
    if published := [r["published"] for r in records if "published" in r]:
        rows["published/last"] = cells.aggregate(published, columns)
    rows["real/"] = cells.aggregate([r["real"] for r in records], columns)
    titles = {
        "ours": first["algorithm"],
        "rival": "Keras, Adam",
        "published": "Keras, Adam as in WGAN-GP",
        "real": "training rows",
    }
    critic = f", {rival.critic_steps} critic steps" if rival.critic_steps > 1 else ""
    machines = sorted({f"{h['processor']}, {h['cores']} cores" for h in _hardware(records)})
    adam = f"Adam: {rival.learning_rate:g}, beta {rival.beta_1:g} and {rival.beta_2:g}{critic}"
    return (
        f"examples/{name}.py, {first['num_batches']:,} mini-batches of {first['batch_size']}, "
        f"seeds {', '.join(sorted(done))}. {adam}. {'; '.join(machines)}.\n\n"
        + cells.markdown(rows, titles, columns)
    )


def _hardware(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [r["hardware"] for r in records]


def main() -> int:
    """The command."""
    f = flags.FLAGS
    names = list(RIVALS) if f.examples == ["all"] else f.examples
    for name in names:
        if name not in RIVALS:
            raise unknown("--examples", name, [*RIVALS, "all"], of="some of")
    try:
        seeds = [int(s) for s in f.seeds]
    except ValueError:
        raise InputError(f"--seeds must be integers, got {','.join(f.seeds)!r}.") from None
    path = Path(f.records)
    known: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"runs": {}}
    code = cli.DONE
    if not f.render:
        make_writable(Path(f.out), "--out")
        import_tensorflow().get_logger().setLevel("ERROR")
        code = _all(known["runs"], [(n, s) for s in seeds for n in names], path)
    text = page(known["runs"])
    write_atomically(Path(f.page), lambda p: p.write_text(text))
    print(text)
    return code


def _all(runs: dict[str, Any], todo: Sequence[tuple[str, int]], path: Path) -> int:
    deadline = time.monotonic() + 60 * flags.FLAGS.budget if flags.FLAGS.budget else float("inf")
    for name, seed in todo:
        record = runs.setdefault(name, {}).setdefault(str(seed), {})
        if "answers" in record and all(k in record for k, r in _KINDS.items() if name in r):
            continue
        try:
            _of_one(name, seed, record, lambda: write_json(path, {"runs": runs}), deadline)
        except _OutOfTimeError:
            print("The budget is spent; the same command goes on.", flush=True)
            return cli.STOPPED
        print(f"{name}, seed {seed}: done", flush=True)
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_list("examples", ["two_moons", "table", "objective_and_schedule"], "Or all.")
    flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds separated by commas.")
    flags.DEFINE_integer("num_batches", None, "Instead of each example's own.", lower_bound=1)
    flags.DEFINE_float("budget", None, "Minutes after which the command stops; none: no limit.")
    flags.DEFINE_string("tfds_dir", None, "Where TFDS has Fashion-MNIST; else Keras fetches it.")
    flags.DEFINE_string("out", "runs/examples", "Where the runs go.")
    flags.DEFINE_string("records", str(RECORDS), "The file of what ended.")
    flags.DEFINE_string("page", str(PAGE), "The page of all tables.")
    flags.DEFINE_bool("render", False, "Only writes the page of what ended.")
    flags.DEFINE_bool("tiny", False, "The examples' own --tiny, for a test.")
    cli.main(main, sys.argv)
