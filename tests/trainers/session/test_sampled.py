"""The sampled algorithms as runs: configs, several chains, checkpoints, mixtures."""

import json

import numpy as np
import pytest

from benchmarks import sampled as study
from benchmarks import studies
from tests.trainers.conftest import command, state_of, tiny
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.training.loop import Loop
from trainers.experiment import settings
from trainers.experiment.build import build
from trainers.system import cli
from trainers.workdir.checkpoints import Checkpoints

SMALL = {"num_batches": 12, "num_inner_steps": 2, "history_capacity": 2}


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path):
    """With a reservoir that overflows and several chains. (Calls are one: test_loop.py.)"""
    config = tiny("sample_md", **SMALL, generator__num_chains=2)
    whole = Loop(build(config))
    whole.advance(4)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(whole.step, whole.tensors(), {})
    checkpoints.wait()
    whole.advance(12)
    second = Loop(build(config))
    second.assign(checkpoints.read().tensors)
    assert second.step == 4
    second.advance(12)
    assert int(second.variables["scheme/theta/history/count"]) == 7 > 2
    again = state_of(second)
    for name, value in state_of(whole).items():
        np.testing.assert_array_equal(value, again[name], name)


def test_chains_start_at_initialisations_of_their_own():
    run = build(tiny("sample_md", generator__num_chains=3))
    state = run.initial_state()
    np.testing.assert_array_equal(state.theta.z[0], run.networks.theta.initial())
    assert state.theta.z.shape[0] == 3
    assert state.w.z.shape[0] == 1
    rows = state.theta.z.numpy()
    for i, j in [(0, 1), (0, 2), (1, 2)]:
        assert np.max(np.abs(rows[i] - rows[j])) > 0.1


def test_a_full_history_has_room_for_the_run():
    config = tiny(
        "sample_md", history="full", num_batches=9, discriminator_steps=3, num_inner_steps=1
    )
    run = build(config)
    assert run.num_outer_steps == 3
    state = run.initial_state()
    assert (state.theta.history.atoms.shape[0], state.w.history.atoms.shape[0]) == (4, 10)
    loop = Loop(run)
    loop.advance(9)
    assert int(loop.variables["scheme/theta/history/count"]) == 4
    assert int(loop.variables["scheme/w/history/count"]) == 10


def test_the_snapshots_are_the_samples_of_random_steps():
    """n' = 1, the whole run as window: the mixture holds strategies of the history."""
    config = tiny("sample_md", history="full", num_batches=8, mixture__num_components=3)
    loop = Loop(build(config))
    loop.advance(8)
    past = loop.variables["scheme/theta/history/atoms"].numpy()[1:, 0]
    for snapshot in loop.mixture().numpy():
        assert np.any(np.all(snapshot == past, axis=1))


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"history": "all"}, ["history 'all'", "full, reservoir, window"]),
        ({"num_chains": 0}, ["num_chains (n')", "at least 1"]),
        ({"discriminator__history_capacity": 0}, ["discriminator.history_capacity (H)"]),
        ({"history_batch": -1}, ["history_batch", "at least 0", "-1"]),
        ({"mirror_step": 0.0}, ["mirror_step", "(eta) above 0", "0.0"]),
    ],
)
def test_bad_values_are_named_with_what_is_valid(overrides, says):
    with pytest.raises(InputError) as error:
        tiny("sample_md", **overrides)
    for part in says:
        assert part in str(error.value)


def test_a_workdir_from_before_the_sampled_algorithms_is_still_the_same_run(tmp_path):
    config = tiny("mirror_gan", prior_std=0.0, rms_correction=False)  # whatever is tuned by now
    old = json.loads(settings.to_json(config))
    for player in ("generator", "discriminator"):
        for key in settings.LATER:
            del old[player][key]
    (tmp_path / "config.json").write_text(json.dumps(old))
    assert settings.differences(config, settings.load_workdir_config(tmp_path)) == []


def test_the_users_form_of_64_unit_nets():
    """As flags give it: a tuple from 64,64,64."""
    done = command(
        "trainers.run",
        "--config=configs/gaussians8_md.py",
        "--config.model.hidden_units=64,64,64",
        "--config.algorithm=sample_md",
        "--dry_run",
    )
    assert done.returncode == 0, done.stderr
    assert "2 -> 64 -> 64 -> 64 -> 2" in done.stdout


def test_the_study_asks_for_the_same_mini_batches_and_nets_everywhere(tmp_path):
    found = [s for stage in study.STAGES.values() for s in stage]
    for (name, _), job in studies._jobs(found, [1], tmp_path, [], tiny=False).items():
        config = cli.load_config(job.config)
        settings.override(config, job.settings)
        resolved = settings.resolve(config)
        assert (resolved["num_batches"], resolved["batch_size"]) == (12_000, 64), name
        assert list(resolved["model"]["hidden_units"]) == [64, 64, 64]
        assert resolved["generator"]["num_particles"] == 1
        assert (resolved["compile"], resolved["algorithm"]) == ("whole", job.settings[0][10:])


@pytest.mark.parametrize(("algorithm", "steps"), [("sample_md", 240), ("sample_mp", 120)])
def test_a_regime_is_that_of_the_protocol(algorithm, steps):
    """eta = 1 / sqrt(T), and of the sum of N terms the chains' temperature is Mirror-GAN's."""
    (setting,) = (s for s in study.STAGES["regimes"] if s.name.endswith(f"{algorithm}_N10_K50"))
    config = cli.load_config(setting.config)
    settings.override(config, setting.items)
    own = settings.resolve(config)["generator"]
    assert own["mirror_step"] == pytest.approx(1 / np.sqrt(steps))
    assert own["temperature"] / (10 * own["mirror_step"]) == pytest.approx(1e-6)
    assert (own["history"], own["history_capacity"], own["prior_std"]) == ("window", 10, 0.3)
    assert len(study.STAGES["regimes"]) == 18


def test_the_best_regime_is_chosen_by_both_seeds():
    """Not the one that is best with one of them, nor one that the other seed lacks."""

    def one(distance):
        cards = {"last": distance, "ema": None, "mixture": distance + 1.0}
        return {"answers": {answer: {"law_distance": v} for answer, v in cards.items()}}

    made = {(1, 1): (0.4, 0.4), (10, 50): (0.3, 0.3), (50, 10): (0.1, 0.7), (50, 50): (0.1,)}
    runs = {
        study.regime("sample_mp", *which).name: {
            str(100 + i): one(x) for i, x in enumerate(distances)
        }
        for which, distances in made.items()
    }
    (found,) = study.best(runs)
    assert found.name == "best_sample_mp_N10_K50"
    assert found.items == study.regime("sample_mp", 10, 50).items
    assert study.study(runs).stages["best"] == [found]
    assert study.best({}) == []
