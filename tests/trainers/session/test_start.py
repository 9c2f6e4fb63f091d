"""Warm starts: which layers fit, what a run begins with, and what is refused."""

import json

import keras
import numpy as np
import pytest

from tests.trainers.conftest import tiny, tiny_images
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.models import dcgan_discriminator, dcgan_generator
from tf_mixed_nash.models.network import Network
from tf_mixed_nash.training.loop import Loop
from trainers.answers import reading
from trainers.experiment.build import build
from trainers.session import start as sut
from trainers.session import train
from trainers.session.health import Health
from trainers.system import cli

pytestmark = pytest.mark.usefixtures("quick_pictures")


def used(network, z):
    """Without the padding."""
    return np.array(z)[: network.num_parameters]


def layers(network):
    return sut.layers_of(network.model, network.unflatten(network.initial()))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A workdir of a run that was stopped half-way."""
    workdir = tmp_path_factory.mktemp("start") / "source"
    config = tiny("mirror_gan", num_batches=8, mixture__window=(0.0, 1.0))
    assert train.train(config, workdir, until=4) == cli.STOPPED
    return workdir


def test_layers_are_numbered_through_the_model_and_hold_its_weights():
    network = dcgan_generator(28, channels=1, latent_dim=8, width=2)
    found = layers(network)
    names = [x.name for x in found]
    assert names == [
        *("dense_1", "batch_normalization_1", "conv2d_transpose_1"),
        *("batch_normalization_2", "conv2d_transpose_2"),
    ]
    assert [x.name for x in layers(dcgan_generator(28, channels=1, latent_dim=8, width=2))] == names
    assert sum(x.size for x in found) == network.num_parameters


def test_another_size_of_the_family_takes_the_layers_that_fit():
    small = dcgan_generator(32, channels=3, latent_dim=8, width=4)
    large = dcgan_generator(64, channels=3, latent_dim=8, width=4)
    source, target = layers(small), layers(large)
    pairs = sut.fitting(source, target)
    assert [source[i].weights for i, _ in pairs] == [target[k].weights for _, k in pairs]
    # From the smallest maps on: all that lies behind the first, which has twice the channels.
    assert {source[i].name for i, _ in pairs if source[i].has_kernel} == {
        x.name for x in source if x.has_kernel and x.name != "dense_1"
    }
    d_small, d_large = (dcgan_discriminator(s, channels=3, width=4) for s in (32, 64))
    source, target = layers(d_small), layers(d_large)
    pairs = sut.fitting(source, target)
    assert [k for _, k in pairs] == sorted(k for _, k in pairs)
    assert (0, 0) in pairs


def test_of_several_ways_the_one_with_most_parameters():
    def layer(name, *shape):
        return sut.Layer(name, (("kernel", shape),), (np.zeros(shape),))

    a, b, c = layer("a", 2, 2), layer("b", 9, 9), layer("c", 3, 3)
    assert sut.fitting([a, b], [b, a]) == [(1, 0)]
    assert sut.fitting([b, a], [a, b]) == [(0, 1)]
    assert sut.fitting([a, c, b], [a, b]) == [(0, 0), (2, 1)]
    assert sut.fitting([a], [c]) == []


def test_a_run_begins_where_the_other_was_and_goes_on_without(source, tmp_path, capsys):
    config = tiny("adam", init_from=str(source), num_batches=6, step_size=0.0)
    workdir = tmp_path / "run"
    assert train.train(config, workdir, until=2) == cli.STOPPED
    part = f"of {source}; taken: dense_1, dense_2, dense_3\n"
    assert capsys.readouterr().out.count(part) == 2  # both players
    there, here = reading.load_loop(source), reading.load_loop(workdir).last()
    for player in ("theta", "w"):
        network = there.run.networks.of(player)
        now, then = (used(network, pair.of(player)) for pair in (here, there.last()))
        np.testing.assert_array_equal(now, then)
    facts = json.loads((workdir / "provenance.json").read_text())["init_from"]
    assert facts["path"] == str(source)
    assert (facts["step"], facts["finished"], facts["answer"]) == (4, False, "last")
    assert facts["generator"]["taken"] == ["dense_1", "dense_2", "dense_3"]
    assert facts["discriminator"]["new"] == []

    first = here.theta.numpy()
    other = tiny("adam", init_from=str(tmp_path / "gone"), num_batches=6, step_size=0.0)
    assert train.train(other, workdir, until=2) == cli.STOPPED
    assert "init_from is not read" in capsys.readouterr().err
    assert json.loads((workdir / "config.json").read_text())["init_from"] == str(source)
    np.testing.assert_array_equal(reading.load_loop(workdir).last().theta.numpy(), first)
    facts = json.loads((workdir / "provenance.json").read_text())
    assert facts["init_from"]["path"] == str(source)
    assert len(facts["sessions"]) == 2


def begun(config):
    start = sut.read(config)
    return build(config, start=start.give), start


def test_one_player_alone(source):
    own = build(tiny("adam")).networks
    run, start = begun(tiny("adam", init_from=str(source), init_players="discriminator"))
    np.testing.assert_array_equal(run.networks.theta.initial(), own.theta.initial())
    there = reading.load_loop(source).last().w
    np.testing.assert_array_equal(
        used(run.networks.w, run.networks.w.initial()), used(run.networks.w, there)
    )
    assert "generator" not in start.facts


def test_particles_begin_at_different_generators(source):
    config = tiny(
        "adam", init_from=str(source), init_answer="mixture", init_players="generator",
        generator__num_particles=2,
    )  # fmt: skip
    run, _ = begun(config)
    atoms = reading.load_loop(source).answers()["mixture"].atoms.numpy()
    first, second = np.array(run._start("theta"))
    network = run.networks.theta
    np.testing.assert_array_equal(used(network, first), used(network, atoms[0]))
    np.testing.assert_array_equal(used(network, second), used(network, atoms[1]))
    assert (first != second).any()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Keras's own, when it saves
def test_a_keras_file_is_one_player(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(16), keras.layers.Dense(5)])
    model.save(tmp_path / "g.keras")
    run, start = begun(tiny("adam", init_from=str(tmp_path / "g.keras")))
    weights = Network(model).unflatten(Network(model).initial())
    mine = run.networks.theta.unflatten(run.networks.theta.initial())[:1]
    np.testing.assert_array_equal(mine[0].numpy(), weights[0].numpy())
    assert start.facts["generator"]["new"] == ["dense_2", "dense_3"]
    assert start.facts["generator"]["parameters_taken"] == 48


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (6, "dense_1, dense_2, dense_3, dense_4, dense_5, dense_6"),
        (8, "dense_1, dense_2, dense_3, dense_4, dense_5 and 3 more"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Keras's own, when it saves
def test_of_many_layers_taken_the_first_are_named(count, said, tmp_path):
    layers = [keras.layers.Dense(3) for _ in range(count)]
    keras.Sequential([keras.Input((2,)), *layers]).save(tmp_path / "g.keras")
    more = {"model__hidden_units": (3,) * count, "init_from": str(tmp_path / "g.keras")}
    _, start = begun(tiny("adam", **more))
    new = f"dense_{count + 1}"
    assert start.text().endswith(f"g.keras; taken: {said}; new: {new}")
    assert len(start.facts["generator"]["taken"]) == count


@pytest.mark.slow
def test_a_run_of_larger_images_begins_with_the_layers_that_fit(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (8, 64, 64, 1), np.uint8))
    more = {"data__path": str(tmp_path / "x.npy"), "image__channels": 1, "batch_size": 2}
    more |= {"model__width": 1, "model__latent_dim": 2, "num_batches": 4, "picture_every": 0}
    small, large = tmp_path / "small", tmp_path / "large"
    assert train.train(tiny_images("adam", 32, **more), small, until=2) == cli.STOPPED
    capsys.readouterr()
    more |= {"init_from": str(small), "step_size": 0.0}
    assert train.train(tiny_images("adam", 64, **more), large, until=2) == cli.STOPPED

    def numbered(kind, numbers, shift=0):
        return {f"{kind}_{i + shift}": f"{kind}_{i}" for i in numbers}

    # 64 pixels take one more block: the generator's first, the discriminator's last.
    expected = {
        "theta": numbered("conv2d_transpose", (1, 2, 3), shift=1)
        | numbered("batch_normalization", (1, 2, 3), shift=1),
        "w": numbered("conv2d", (1, 2, 3)) | numbered("batch_normalization", (1, 2)),
    }
    lines = [x for x in capsys.readouterr().out.splitlines() if x.startswith("init_from ")]
    there, here = (reading.load_loop(x) for x in (small, large))
    for player, line in zip(("theta", "w"), lines, strict=True):
        theirs, mine = (
            {x.name: x for x in sut.layers_of(n.model, n.unflatten(loop.last().of(player)))}
            for loop in (there, here)
            for n in [loop.run.networks.of(player)]
        )
        taken, _, new = line.partition("; taken: ")[2].partition("; new: ")
        assert {*taken.split(", ")} == {*expected[player]}
        assert {*new.split(", ")} == {*mine} - {*expected[player]}
        for name, source in expected[player].items():
            assert mine[name].weights == theirs[source].weights
            for ours, given in zip(mine[name].values, theirs[source].values, strict=True):
                np.testing.assert_array_equal(ours, given)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"model__hidden_units": (8, 9)}, "No layer of the generator"),
        ({"num_particles": 4}, "The run has 4 generators and init_from=.* has 1"),
        ({"init_from": "nowhere"}, "neither a workdir of trainers.run"),
    ],
)
def test_what_does_not_fit_is_refused(source, more, message):
    config = tiny("adam", **{"init_from": str(source), **more})
    with pytest.raises(InputError, match=message):
        begun(config)


def test_no_advice_is_followed_already(source, tmp_path):
    with pytest.raises(InputError) as error:
        begun(tiny("adam", init_from=str(source), num_particles=4, init_answer="mixture"))
    assert "init_answer=mixture" not in str(error.value)
    assert "--config.generator.num_particles=" in str(error.value)
    broken = tmp_path / "broken.keras"
    with pytest.raises(InputError, match=r"broken.keras is not there\."):
        sut.read(tiny("adam", init_from=str(broken)))
    broken.write_text("nothing")
    with pytest.raises(InputError, match=r"broken.keras is no model that Keras reads \("):
        sut.read(tiny("adam", init_from=str(broken)))


def test_the_norms_before_a_warm_start_are_known(source):
    """Health's growth is against them, since a session that resumes the run has no others."""
    warm, _ = begun(tiny("adam", init_from=str(source)))
    again = build(tiny("adam", init_from=str(source)))
    assert set(warm.cold) == {"theta", "w"}
    for player, network in zip(("theta", "w"), again.networks, strict=True):
        np.testing.assert_array_equal(warm.cold[player], network.initial().numpy())
        assert (warm.networks.of(player).initial().numpy() != warm.cold[player]).any()
    assert again.cold == {}
    found = [Health(run, rows=40).look(Loop(run)) for run in (warm, again)]
    for player, network in zip(("theta", "w"), warm.networks, strict=True):
        grown = np.linalg.norm(used(network, network.initial()))
        grown /= np.linalg.norm(used(network, warm.cold[player]))
        assert found[0][f"health/growth/{player}"] == pytest.approx(grown, rel=1e-5)
        assert abs(grown - 1.0) > 1e-4
        assert found[1][f"health/growth/{player}"] == pytest.approx(1.0, rel=1e-5)


def test_other_refusals(source, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "config.json").write_text((source / "config.json").read_text())
    with pytest.raises(InputError, match="has no checkpoint yet"):
        sut.read(tiny("adam", init_from=str(empty)))
    with pytest.raises(InputError, match="family"):
        sut.read(tiny_images("adam", init_from=str(source), data__path="x"))
    with pytest.raises(InputError, match="holds no published version"):
        sut.read(tiny("adam", init_from=str(tmp_path)))
    with pytest.raises(InputError, match="says nothing without"):
        tiny(init_players="generator")
    with pytest.raises(InputError, match="Unknown init_answer 'best'"):
        tiny(init_from="x", init_answer="best")
    with pytest.raises(InputError, match=r"init_answer of init_from=.* 'ema_7'\..* last, ema, mix"):
        sut.read(tiny("adam", init_from=str(source), init_answer="ema_7"))
    with pytest.raises(InputError, match=r"init_players 'bth'\. Did you mean 'both'\? Choose"):
        tiny(init_from="x", init_players="bth")
