"""The gates: a good model passes each, and each finds what it is for."""

from __future__ import annotations

import io
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
import yaml
from PIL import Image

from export import card, checks, convert, publish, runtime, verify, warmup
from tests.export.conftest import ONLY_MIXTURE, seed_array
from tf_mixed_nash.errors import InputError


@pytest.fixture
def copy(published, tmp_path):
    """A copy of a published version, to be damaged."""
    folder = tmp_path / "model" / "1"
    shutil.copytree(published.version, folder)
    return folder


def manifest_anew(folder):
    """As if the folder had been published as it is now."""
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").unlink()
    own = ("files", "versions")
    publish.write_manifest(folder, {k: v for k, v in manifest.items() if k not in own})


def failing(folder):
    return {r.gate: r.detail for r in verify.verify(folder, isolated=False) if not r.passed}


@ONLY_MIXTURE
def test_the_command_prints_a_table_of_gates(command, published):
    code, out, err = command(verify, f"--model={published.version.parent}")
    assert (code, err) == (0, "")
    for gate in verify.GATES:
        assert f"pass  {gate} " in out
    assert "FAIL" not in out
    assert "Not yet verified against tensorflow_model_server" in out


@pytest.mark.slow
def test_images_pass_every_gate(images):
    results = verify.verify(images[1])
    assert [r.gate for r in results] == list(verify.GATES)
    assert [r.detail for r in results if not r.passed] == []


@ONLY_MIXTURE
def test_a_changed_file_fails_the_first_gate(copy):
    data = copy / "variables" / "variables.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    assert "SHA-256 differs" in failing(copy)["files"]


@ONLY_MIXTURE
def test_the_command_names_what_fails_and_exits_2(refused_table, copy):
    (copy / warmup.FILE).unlink()
    manifest_anew(copy)
    out, err = refused_table(f"--model={copy}")
    assert "FAIL  warm-up" in out
    assert "missing" in out
    assert err == f"error: {copy} does not pass: warm-up.\n"


@pytest.fixture
def refused_table(command):
    def run(*arguments):
        code, out, err = command(verify, *arguments, "--noisolated")
        assert code == 2
        return out, err

    return run


@ONLY_MIXTURE
def test_a_warm_up_record_that_fails_is_found(copy, monkeypatch):
    from tensorflow_serving.apis import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = "generate_component"
    request.inputs["latents"].CopyFrom(tf.make_tensor_proto(np.zeros([1, 3], np.float32)))
    request.inputs["components"].CopyFrom(tf.make_tensor_proto(np.array([8], np.int64)))
    with tf.io.TFRecordWriter(str(copy / warmup.FILE)) as records:
        records.write(log.SerializeToString())
    manifest_anew(copy)
    for gate in {*verify.GATES} - {"warm-up"}:
        monkeypatch.delitem(verify.GATES, gate)
    assert "record 0 (generate_component) fails" in failing(copy)["warm-up"]
    for content, says in ((b"no record", "no whole record"), (b"no record" * 9, "damaged")):
        (copy / warmup.FILE).write_bytes(content)
        manifest_anew(copy)
        assert says in failing(copy)["warm-up"]


@ONLY_MIXTURE
def test_other_golden_samples_are_found(copy):
    with np.load(copy / publish.GOLDEN) as golden:
        arrays = dict(golden)
    arrays["samples"][3, 0] += 0.5
    np.savez(copy / publish.GOLDEN, **arrays)
    manifest_anew(copy)
    assert failing(copy) == {"golden": "The golden samples differ by up to 0.5."}


def test_warm_up_covers_every_signature_and_batch_size(images):
    records = list(warmup.read(images[1]))
    signatures = runtime.read_signatures(images[1])
    sizes = {name: set() for name in signatures}
    for name, inputs in records:
        sizes[name].add(len(next(iter(inputs.values()))))
    assert sizes == {name: set(warmup.BATCH_SIZES) for name in signatures}


class Sampler(tf.Module):
    """A model whose row depends on the batch that it comes in, or on the session."""

    def __init__(self, sample):
        super().__init__()
        self.scale = tf.Variable(1.0)
        self.function = sample

    def save(self, folder):
        def sample(seeds):
            return {"samples": self.scale * self.function(tf.cast(seeds, tf.float32))}

        spec = tf.TensorSpec([None, 2], tf.int64, name="seeds")
        function = tf.function(sample, input_signature=[spec], autograph=False)
        tf.saved_model.save(self, str(folder), signatures={"sample": function})
        (folder / "assets.extra").mkdir()
        warmup.write(folder, "m")
        with runtime.ServedModel(folder) as served:
            seeds = seed_array(0, 8)
            samples = served.run("sample", {"seeds": seeds})["samples"]
        np.savez(folder / publish.GOLDEN, seeds=seeds, samples=samples)
        publish.write_manifest(folder, {"num_components": 1})


@pytest.mark.parametrize(
    ("sample", "says"),
    [
        (lambda s: s / tf.cast(tf.shape(s)[0], tf.float32), "for fewer rows"),
        (lambda s: s - s[:1], "in another order"),
        (lambda s: s + tf.reduce_max(s) - tf.reduce_max(s[:7]), "differs"),
    ],
    ids=["size", "first", "largest"],
)
def test_rows_that_depend_on_their_batch_are_found(tmp_path, sample, says):
    Sampler(sample).save(tmp_path / "1")
    found = failing(tmp_path / "1")
    assert list(found) == ["seeds"]
    assert says in found["seeds"]


def test_rows_that_do_not_are_not(tmp_path):
    Sampler(lambda s: s * 2).save(tmp_path / "1")
    assert failing(tmp_path / "1") == {}


def test_python_in_the_graph_fails_in_isolation_and_before(tmp_path):
    Sampler(
        lambda s: tf.ensure_shape(tf.numpy_function(lambda x: x, [s], tf.float32), [None, 2])
    ).save(tmp_path / "1")
    failed = {r.gate for r in verify.verify(tmp_path / "1") if not r.passed}
    assert {"graph", "isolated"} <= failed


def spec_saver(spec, **devices):
    def save(folder):
        module = tf.Module()
        module.variable = tf.Variable(2.0)

        def function(x):
            with tf.device(devices.get("device")):
                return {"samples": x * module.variable}

        tf.saved_model.save(
            module, str(folder), signatures=tf.function(function, input_signature=[spec])
        )

    return save


@pytest.mark.parametrize(
    ("save", "says"),
    [
        (spec_saver(tf.TensorSpec([], name="x")), r"input 'x' .* has shape \[\]"),
        (spec_saver(tf.TensorSpec([8, 2], name="x")), r"has shape \[8, 2\].*first dimension"),
        (spec_saver(tf.TensorSpec(None, name="x")), "no rank"),
        (spec_saver(tf.TensorSpec([None], name="x"), device="/GPU:0"), "pinned to .*GPU:0"),
    ],
    ids=["scalar", "fixed", "unknown", "gpu"],
)
def test_signatures_that_cannot_be_batched_are_refused(tmp_path, save, says):
    save(tmp_path)
    with pytest.raises(InputError, match=says):
        checks.check_graph(tmp_path)


# Images.


def test_pngs_are_the_samples(images):
    strategy, version = images
    seeds = seed_array(2, 11)
    labels = np.arange(11) % 4
    with runtime.ServedModel(version) as served:
        drawn = served.run("draw", {"seeds": seeds})
        latents = {"latents": drawn["latents"], "labels": labels}
        inputs = {
            "sample": {"seeds": seeds},
            "sample_class": {"seeds": seeds, "labels": labels},
            "generate": latents,
            "generate_component": {**latents, "components": drawn["components"]},
        }
        for name, values in inputs.items():
            samples = served.run(name, values)["samples"]
            pngs = served.run(f"{name}_png", values)["image_bytes"]
            expected = np.clip(np.rint((samples + 1) * 127.5), 0, 255)
            pixels = np.stack([np.asarray(Image.open(io.BytesIO(png))) for png in pngs])
            np.testing.assert_array_equal(pixels, expected[..., 0], name)
            assert len(np.unique(pixels)) > 50, name
        by_class = served.run("sample_class", inputs["sample_class"])["samples"]
    components, inputs = strategy.draw(tf.constant(seeds))
    one_hot = tf.one_hot(labels, 4)
    by_hand = strategy.generate(components, tf.concat([inputs[:, :3], one_hot], 1))
    np.testing.assert_allclose(by_class, by_hand, atol=1e-5)
    np.testing.assert_array_equal(drawn["labels"], np.argmax(inputs[:, 3:], axis=1))
    assert len(set(drawn["labels"])) > 1


# The card.


def test_the_card_is_a_model_card(images):
    _, version = images
    text = (version / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert metadata["pipeline_tag"] == "unconditional-image-generation"
    assert metadata["datasets"] == ["patches"]
    (entry,) = metadata["model-index"]
    (result,) = entry["results"]
    assert entry["name"] == "images"
    assert result["metrics"] == [{"type": "fid", "value": 1.25}]
    assert "| fid | 1.25 | 0.5 |" in body
    assert f"![samples of seed 0]({card.PICTURE})" in body
    assert "`tiny` (SHA-256 abababababab), on 10 samples" in body
    assert "after 1,200 mini-batches" in body
    assert {"image-generation", "class-conditional"} <= {*metadata["tags"]}
    assert "The training's was 5" in " ".join(body.split())
    manifest = json.loads((version / "manifest.json").read_text())
    for signature in manifest["signatures"]:
        assert f"| `{signature}` |" in body
    with Image.open(version / card.PICTURE) as picture:
        assert picture.size == (3 * 8 * 28, 3 * 8 * 28)  # at least 512, in whole multiples
        assert np.asarray(picture).std() > 5


def test_the_card_of_data_of_one_s_own_names_no_data_set():
    """The hub reads `datasets` as names of its own; the layers would be most of the page."""
    layers = {"keras": {"class_name": "Sequential"}, "parameters": 7}
    config = {"seed": 3, "data": {"fingerprint": "ab-5x2"}, "model": {"generator": layers}}
    facts = {
        "dataset": "python", "config": config, "image": False, "sample_shape": [2],
        "num_classes": 0, "num_components": 1, "signatures": {}, "latent_dim": 2,
    }  # fmt: skip
    text = card._text("mine", facts, None, "")
    assert "datasets" not in text
    assert "data of the user's own, given in Python (fingerprint `ab-5x2`)" in " ".join(
        text.split()
    )
    assert '"parameters": 7' in text
    assert "Sequential" not in text
    named = card._text("mine", {**facts, "dataset": "mine.py:rows"}, None, "")
    assert "datasets" not in named
    assert "`mine.py:rows`" in named
    assert "`gaussians8`" in card._text("mine", {**facts, "dataset": "gaussians8"}, None, "")


def test_the_card_s_python_runs_as_it_stands(images, monkeypatch):
    text = (images[1] / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(images[1])
    scope = {}
    exec(code, scope)
    assert scope["samples"].shape == (64, 28, 28, 1)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
def test_the_card_s_further_training_runs_as_it_stands(images, command, monkeypatch, tmp_path):
    text = (images[1] / "README.md").read_text()
    (line,) = [x for x in text.splitlines() if x.startswith("python -m export.convert")]
    code = text.split("```python\n")[2].split("```")[0]
    shutil.copytree(images[1], tmp_path / "model")
    monkeypatch.chdir(tmp_path / "model")
    status, out, err = command(convert, *line.split()[3:])
    assert (status, err) == (0, "")
    assert "generator.keras" in out
    scope = {}
    exec(code, scope)
    before = [w.numpy() for w in scope["generator"].trainable_variables]
    real = tf.ones([6, 28, 28, 1])
    scope["step"](real, tf.range(6) % 4)
    after = [w.numpy() for w in scope["generator"].trainable_variables]
    assert all((a != b).any() for a, b in zip(before, after, strict=True))
