"""The model card of a version: README.md in the form of Hugging Face's model cards.

Metadata in YAML between lines of dashes, then the sections of their template that apply: what the
model is, how to use it, how it was trained, how good it is (the scorecard beside real data), and
its limits.
"""

from __future__ import annotations

import html
import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from export import publish, runtime, sample

__all__ = ["PICTURE", "write"]

PICTURE = "samples.png"
_NUM = 64


def write(
    directory: Path, model_name: str, facts: Mapping[str, Any], served: runtime.ServedModel
) -> None:
    """Writes README.md and its picture into a version folder.

    Args:
      directory: of the version.
      model_name: the name it is served under.
      facts: the manifest's entries.
      served: its session.
    """
    samples = sample.draw(served, "sample", 0, _NUM if facts["image"] else 20 * _NUM)
    picture = None
    if facts["image"] or facts["sample_shape"] == [2]:
        picture = PICTURE
        sample.draw_picture(samples, facts.get("plot") or {}, directory / picture)
    architecture = directory / publish.ARCHITECTURE
    layers = architecture.read_text() if architecture.is_file() else ""
    text = _text(model_name, facts, picture, layers)
    (directory / "README.md").write_text(text, encoding="utf-8", errors="backslashreplace")


def _text(name: str, facts: Mapping[str, Any], picture: str | None, layers: str) -> str:
    dataset = _data(facts)
    algorithm = facts.get("algorithm", "an unnamed algorithm")
    front = _front_matter(name, facts)
    kind = "images" if facts["image"] else "points"
    average = facts.get("average") or facts.get("strategy") or "one strategy"
    step = f" after {facts['step']:,} mini-batches" if "step" in facts else ""
    code = facts.get("code") or {}
    commit = f"commit `{code.get('commit')}{' with changes' if code.get('dirty') else ''}`"
    if code.get("version"):  # installed, outside a checkout
        commit = f"version {code['version']}"
    classes = f", {facts['num_classes']} classes" if facts["num_classes"] else ""
    names = facts.get("class_names") or []
    parts = [
        f"---\n{front}---\n# {name}",
        f"A generator of {kind} {facts['sample_shape']}{classes}, trained on {dataset} with "
        f"`{algorithm}` by [tf_mixed_nash]; this is its `{average}`{step}: a mixed strategy of "
        f"{facts['num_components']} generator{'s' if facts['num_components'] > 1 else ''} with "
        f"weights, of which each sample draws one.{_answer(average)}{_measures(facts)}",
    ]
    if picture:
        parts.append(f"![samples of seed 0]({picture})")
    parts += [
        "## How to use it",
        _USE.format(name=name),
        "The rows `(s, 0) ... (s, n-1)` of `seeds` are *n samples of seed s*: the same whatever "
        "*n* and whatever else is in the request. Values are float32"
        + (" in [-1, 1]." if facts["image"] else "."),
        _seeds(facts),
        "| signature | meaning |\n|---|---|\n"
        + "\n".join(f"| `{s}` | {_MEANING[s]} |" for s in facts["signatures"] if s in _MEANING),
        *(["The classes:", _classes(names)] if names else []),
        "## Training",
        f"Algorithm `{algorithm}` (Hsieh, Liu & Cevher, *Finding Mixed Nash Equilibria of "
        f"Generative Adversarial Networks*, ICML 2019, and what it is compared with), "
        f"code at {commit}. The whole config is in `manifest.json`"
        + ("; without the networks' layers:" if facts.get("config") else "."),
    ]
    if facts.get("config"):
        config = _without_layers(facts["config"])
        parts.append(f"```json\n{json.dumps(config, indent=1, default=str)}\n```")
    if layers:
        parts += ["## Training it on", *_fine_tuning(facts, layers)]
    parts += ["## Evaluation", _evaluation(facts), "## Limits", _limits(facts)]
    return "\n\n".join(_wrapped(p) for p in parts) + "\n"


# What an answer of a run is.
_ANSWERS = {
    "last": "`last` is the last iterate of the training.",
    "ema": "`ema` is the moving average of the generator's weights over the training.",
    "mixture": "`mixture` is the answer of the theory: snapshots of a window of the training, each "
    "as likely.",
}


def _answer(average: str) -> str:
    return f" {_ANSWERS[average]}" if average in _ANSWERS else ""


# What a config calls data that have no name of their own.
_UNNAMED = {
    "python": "data of the user's own, given in Python",
    "vectors": "a table of the user's own",
    "folder": "a folder of images of the user's own",
}


def _named(facts: Mapping[str, Any]) -> str | None:
    """The name of a public data set, if it is one."""
    name = facts.get("dataset")
    return None if not name or name in _UNNAMED or ":" in name else name


def _data(facts: Mapping[str, Any]) -> str:
    if name := _named(facts):
        return f"`{name}`"
    if not (name := facts.get("dataset")):
        return "`unknown data`"
    text = _UNNAMED.get(name, f"data of the user's own, `{name}`")
    fingerprint = ((facts.get("config") or {}).get("data") or {}).get("fingerprint")
    return text + (f" (fingerprint `{fingerprint}`)" if fingerprint else "")


def _without_layers(config: Any) -> Any:
    """A config without the descriptions of Keras models, which are longer than all the rest."""
    if isinstance(config, Mapping):
        return {k: _without_layers(v) for k, v in config.items() if k != "keras"}
    return config


def _seeds(facts: Mapping[str, Any]) -> str:
    config = facts.get("config") or {}
    said = "Seeds are of two kinds. "
    if "seed" in config:
        said += (
            f"The training's was {config['seed']}: weights, data and noise are functions of it. "
        )
    return said + (
        "A sample's is the pair (seed, index) of a request, int64; the picture above has seed 0, "
        "index 0 and on."
    )


def _classes(names: Sequence[str]) -> str:
    """The table of labels; a name may hold whatever a folder's name can."""
    rows = (f"| {k} | {html.escape(name).replace('|', '&#124;')} |" for k, name in enumerate(names))
    return "| label | class |\n|---|---|\n" + "\n".join(
        "".join(c if c.isprintable() else " " for c in row) for row in rows
    )


def _measures(facts: Mapping[str, Any]) -> str:
    if (particles := facts.get("num_particles", 1)) == 1:
        return ""
    M = facts["num_components"] // particles
    steps = f"those of {M} steps of the training" if M > 1 else "those of one step"
    return (
        f" They are {particles} particles that were trained together against a discriminator that "
        f"sees their mixture, {steps}: component i is particle i mod {particles}."
    )


def _wrapped(text: str) -> str:
    plain = not text.startswith(("---", "|", "`", "#", "!"))
    return textwrap.fill(text, 99, break_long_words=False) if plain else text


_USE = """```python
import tensorflow as tf

model = tf.saved_model.load(".")  # this folder
seeds = tf.stack([tf.fill([64], tf.constant(0, tf.int64)), tf.range(64, dtype=tf.int64)], axis=1)
samples = model.signatures["sample"](seeds=seeds)["samples"]
```

```sh
curl -d '{{"signature_name": "sample", "instances": [[0, 0], [0, 1]]}}' \\
  http://localhost:8501/v1/models/{name}:predict
```"""

_MEANING = {
    "sample": "samples by key: seeds int64 [n, 2]",
    "serving_default": "the same",
    "sample_class": "samples by key, of given classes: seeds, labels int64 [n]",
    "generate": "samples of latents float32 [n, D], the component by a hash of the latents",
    "generate_component": "samples of latents by given components int64 [n]",
    "draw": "what the keys decide: latents, components (and labels)",
    "sample_png": "`sample` as PNG: image_bytes string [n]",
    "sample_class_png": "`sample_class` as PNG",
    "generate_png": "`generate` as PNG",
    "generate_component_png": "`generate_component` as PNG",
}


_ON = """A component is a Keras model again by `python -m export.convert`, and draws what it draws
here; the discriminator was not published. A step of further training, on batches of `real` data
shaped like the samples:"""

_CONVERT = """```sh
python -m export.convert --model=. --format=keras --component=0 --output=generator.keras
```"""

_STEP = """```python
import keras
import tensorflow as tf
{ours}
generator = keras.models.load_model("generator.keras")
discriminator = keras.Sequential(
    [keras.layers.Flatten(), keras.layers.Dense(256, "leaky_relu"), keras.layers.Dense(1)]
)
for_generator, for_discriminator = (keras.optimizers.Adam(1e-4, 0.5) for _ in range(2))


@tf.function
def step({arguments}):
    latents = tf.random.normal([tf.shape(real)[0], {D}])
{classes}    with tf.GradientTape() as ours, tf.GradientTape() as theirs:
        fake = tf.cast(generator(latents, training=True), tf.float32)
        on_real, on_fake = discriminator(real), discriminator(fake)
        loss = tf.reduce_mean(tf.nn.softplus(-on_fake))
        loss_of_discriminator = tf.reduce_mean(tf.nn.softplus(on_fake) + tf.nn.softplus(-on_real))
    weights = generator.trainable_variables
    for_generator.apply(ours.gradient(loss, weights), weights)
    weights = discriminator.trainable_variables
    for_discriminator.apply(theirs.gradient(loss_of_discriminator, weights), weights)
```"""


def _fine_tuning(facts: Mapping[str, Any], layers: str) -> list[str]:
    """How to go on from a component with Keras alone."""
    k = facts["num_classes"]
    one_hot = f"tf.concat([latents, tf.one_hot(labels, {k})], axis=1)"
    step = _STEP.format(
        D=facts["latent_dim"],
        arguments="real, labels" if k else "real",
        classes=f"    latents = {one_hot}\n" if k else "",
        ours="import tf_mixed_nash.models  # its layers\n" if '"tf_mixed_nash>' in layers else "",
    )
    return [_ON, _CONVERT, step]


def _numbers(card: Mapping[str, Any]) -> dict[str, float]:
    return {
        k: v for k, v in card.items() if isinstance(v, int | float) and not k.startswith("num_")
    }


def _evaluation(facts: Mapping[str, Any]) -> str:
    scores = _numbers(facts.get("scorecard") or {})
    if not scores:
        return (
            "No scores of this answer at this step were measured. `python -m trainers.evaluate` "
            "scores a run's workdir, and `MixedNashGAN.evaluate` any game beside data of yours."
        )
    real = _numbers(facts.get("real_data_ceiling") or {})
    rows = "\n".join(
        f"| {key} | {value:.6g} | {f'{real[key]:.6g}' if key in real else ''} |"
        for key, value in scores.items()
    )
    table = f"| score | this model | real data |\n|---|---|---|\n{rows}"
    protocol = facts.get("protocol") or {}
    if network := protocol.get("feature_network"):
        table += (
            f"\n\nThe scores' feature network is `{network}` (SHA-256 "
            f"{str(protocol.get('sha256'))[:12]}), on {protocol.get('num_samples'):,} samples; "
            "they compare with scores of the same network only."
        )
    return table


def _limits(facts: Mapping[str, Any]) -> str:
    config = facts.get("config") or {}
    seed = f" (seed {config['seed']})" if "seed" in config else ""
    return (
        f"One run{seed}. The bytes of a sample are the same in every request on one machine; "
        "another kind of processor may round differently. The model draws what its training data "
        "showed, with their gaps and biases, and says nothing about the rights to those data. "
        "Not yet verified against tensorflow_model_server."
    )


def _front_matter(name: str, facts: Mapping[str, Any]) -> str:
    scores = _numbers(facts.get("scorecard") or {})
    dataset = _named(facts)
    task = "unconditional-image-generation" if facts["image"] else "other"
    kind = "image-generation" if facts["image"] else "synthetic-data"
    by_class = ["class-conditional"] if facts["num_classes"] else []
    front: dict[str, Any] = {
        "library_name": "tensorflow",
        "tags": [
            *("gan", "mixed-nash-equilibrium", "saved-model", "tf_mixed_nash", kind),
            *by_class,
        ],
    }
    # The hub knows one kind of ours; a tag of a kind that it does not know is refused there.
    if facts["image"]:
        front["pipeline_tag"] = task
    if dataset:
        front["datasets"] = [dataset]
    if scores and dataset:
        front["model-index"] = [
            {
                "name": name,
                "results": [
                    {
                        "task": {"type": task},
                        "dataset": {"type": dataset, "name": dataset},
                        "metrics": [{"type": k, "value": v} for k, v in scores.items()],
                    }
                ],
            }
        ]
    return yaml.safe_dump(front, sort_keys=False)
