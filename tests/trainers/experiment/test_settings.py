"""Resolving and checking configs."""

import itertools
import json

import pytest

from configs import common, tuned
from tests.trainers.conftest import tiny, tiny_images
from tf_mixed_nash.algorithms import ALGORITHMS
from tf_mixed_nash.errors import InputError
from trainers.experiment import settings


def test_every_algorithm_resolves_with_its_own_defaults():
    for name in ALGORITHMS:
        resolved = tiny(name)
        expected = tuned.defaults(name)
        assert resolved["generator"] == resolved["discriminator"] == expected, name
    assert tuned.TUNED.keys() == ALGORITHMS.keys()


def test_what_was_checked_in_the_plane_is_no_default_elsewhere():
    """Step sizes of 3 x 64 units on three data sets say nothing of anybody's models and data."""
    for name in ALGORITHMS:
        start = {**tuned.ANY, **tuned.STARTS[name]}
        own = tiny(name, dataset="mine.py:rows")
        assert own["generator"] == own["discriminator"] == start, name
        if name not in ("sample_md", "sample_mp"):
            several = tiny(name, num_particles=2)["generator"]
            assert several == {**start, **tuned.PARTICLES.get(name, {}), "num_particles": 2}, name
        images = tiny_images(name)["generator"]
        assert images == {**start, **tuned.IMAGES.get(name, {})}, name


def test_a_players_flag_beats_the_common_flag_which_beats_the_tuned_default():
    resolved = tiny("adam", step_size=0.25, generator__step_size=0.5)
    assert resolved["generator"]["step_size"] == 0.5
    assert resolved["discriminator"]["step_size"] == 0.25
    assert resolved["discriminator"]["decay_1"] == tuned.defaults("adam")["decay_1"]


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"dataset": "mnits"}, ["mnits", "gaussians8, gaussians25, swissroll"]),
        ({"step_size": -1e-3}, ["step_size", "at least 0", "-0.001"]),
        ({"step_size": float("nan")}, ["step_size", "nan"]),
        ({"damping": 0.0}, ["beta", "(0, 1]", "0.0"]),
        ({"discriminator__damping": 1.5}, ["discriminator.damping", "(0, 1]", "1.5"]),
        ({"num_inner_steps": 0}, ["K_t", "at least 1", "0"]),
        ({"temperature": -1.0}, ["temperature", "at least 0"]),
        ({"rms_decay": 1.0}, ["rms_decay", "[0, 1)"]),
        ({"step_size_schedule": "stepwise"}, ["stepwise", "constant, linear, cosine, exponential"]),
        ({"preconditioner": "full"}, ["full", "rms, none"]),
        ({"batch_size": 0}, ["batch_size", "at least 1"]),
        ({"num_batches": 0}, ["num_batches"]),
        ({"checkpoint_every": 0}, ["checkpoint_every"]),
        ({"discriminator_steps": 0}, ["discriminator_steps"]),
        ({"seed": -1}, ["seed"]),
        ({"precision": "float8"}, ["float8", "float32, mixed_bfloat16, mixed_float16, float64"]),
        ({"strategy": "tpu"}, ["tpu", "default, mirrored"]),
        ({"publish": "best"}, ["best", "mixture, last, ema"]),
        ({"game__objective": "gan"}, ["gan", "wgan", "FILE.py:NAME"]),
        ({"game__gradient_penalty": -1.0}, ["gradient_penalty"]),
        ({"game__r2": -1.0}, ["game.r2", "at least 0"]),
        ({"game__penalty_every": 0}, ["penalty_every", "at least 1"]),
        ({"game__packing": 3}, ["packs of 3", "multiple of 3"]),
        ({"game__packing": 2, "num_particles": 2}, ["punish generators that specialise"]),
        ({"game__penalty_schedule": "cosin"}, ["penalty_schedule", "'cosine'", "FILE.py:NAME"]),
        ({"decay_2_schedule": "cosine(warmup=2)"}, ["decay_2_schedule", "[0, 1)"]),
        ({"chambolle_pock__extrapolate": "both"}, ["both", "measure, parameters"]),
        ({"mixture__window": (0.9, 0.5)}, ["window", "(0.9, 0.5)"]),
        ({"mixture__window": (0.5,)}, ["window", "(0.5)"]),
        ({"mixture__num_components": 0}, ["num_components"]),
        ({"model__hidden_units": ()}, ["hidden_units"]),
        ({"model__fourier_features": -1}, ["model.fourier_features (0: none)", "at least 0"]),
        ({"model__fourier_features": 2, "model__fourier_highest": 0.5}, ["highest", "at least 1"]),
        ({"model__fourier_highest": 9.0}, ["not read without Fourier", "fourier_features=48"]),
        ({"model__start_scale": -0.1}, ["model.start_scale", "at least 0"]),
        ({"model__start_spread": -1.0}, ["model.start_spread", "at least 0"]),
        ({"ema_decay": 1.0}, ["ema_decay"]),
        ({"ema_half_lives": (10, 10)}, ["ema_half_lives", "no two alike", "(10, 10)"]),
        ({"ema_half_lives": (0.5,)}, ["ema_half_lives", "(0.5)"]),
        ({"ema_half_lives": (9,), "publish": "ema_8"}, ["ema_8", "ema, ema_9"]),
        ({"ema_schedule": "warm"}, ["ema_schedule", "constant, linear"]),
        ({"inner_steps_schedule": "up"}, ["inner_steps_schedule", "constant, linear"]),
        (
            {"inner_steps_schedule": "linear", "inner_steps_rate": 0.1},
            ["generator.inner_steps_rate", "both"],
        ),
        ({"mixture__when": "often"}, ["mixture.when", "random, low_points"]),
        ({"mixture__when": "low_points"}, ["'linear'", "step_size_schedule=cyclical"]),
        ({"game__augment": "cutout"}, ["of images", "gaussians8"]),
        ({"game__augment_target": 0.6}, ["game.augment_target=0.6", "there are none"]),
    ],
)
def test_bad_values_are_named_with_what_is_valid(overrides, says):
    with pytest.raises(InputError) as error:
        tiny("mirror_gan", **overrides)
    for part in says:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"augment": "cutuot"}, ["game.augment", "Did you mean 'cutout'"]),
        ({"augment_probability": 0.0}, ["augment_probability", "(0, 1]"]),
        ({"augment_speed": 0}, ["augment_speed", "above 0"]),
        ({"augment_schedule": "lineer"}, ["augment_schedule", "'linear'"]),
        ({"augment_target": 1.0}, ["augment_target", "[0, 1)"]),
        ({"augment_target": 0.6, "augment_schedule": "linear"}, ["Leave one of them out"]),
        ({"augment_target": 0.6, "objective": "relativistic"}, ["differences of D alone"]),
        ({"augment_target": 0.6, "algorithm": "sample_md"}, ["a past of them"]),
    ],
)
def test_augmentations_that_cannot_be(overrides, says):
    algorithm = overrides.get("algorithm", "adam")
    game = {f"game__{k}": v for k, v in overrides.items() if k != "algorithm"}
    with pytest.raises(InputError) as error:
        tiny_images(algorithm, **{"game__augment": "cutout", **game})
    for part in says:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("algorithm", "says"),
    [
        ("mirror_gan", "Set --config.algorithm=alt_mirror_gan instead"),
        ("alt_mirror_gan", "alt_mirror_gan is by turns already"),
        ("chambolle_pock", "is by turns already"),
        ("past_extra_adam", "of sgd, rmsprop, adam, optimistic_adam. Leave it out"),
    ],
)
def test_who_may_move_by_turns(algorithm, says):
    with pytest.raises(InputError) as error:
        tiny(algorithm, alternated=True)
    assert says in str(error.value)
    # What runs always were has no such key; what differs in it is another run.
    assert "alternated" not in tiny("adam")
    for now, there in itertools.permutations((True, False)):
        ours, theirs = tiny("adam", alternated=now), tiny("adam", alternated=there)
        says = [f"alternated: {there} there, {now} now"]
        assert settings.differences(ours, theirs) == says


def test_an_unknown_algorithm_names_the_registry():
    said = rf"'adan'\. Did you mean 'adam'\? Choose one of: {', '.join(ALGORITHMS)}"
    with pytest.raises(InputError, match=said):
        tiny("adan")


def test_a_batch_must_divide_over_the_replicas():
    config = common.planar("gaussians8", "adam", "tiny")
    config.batch_size = 15
    assert settings.resolve(config, num_replicas=3)["batch_size"] == 15
    with pytest.raises(InputError, match="15 is not divisible by the 2 replicas"):
        settings.resolve(config, num_replicas=2)


def test_differences_name_what_changes_the_run_and_nothing_else():
    ours, theirs = tiny("adam", seed=1, log_every=7), tiny("adam", seed=2, log_every=9)
    assert settings.differences(ours, theirs) == ["seed: 2 there, 1 now"]


def test_a_workdir_from_before_there_was_a_choice_of_compiling(tmp_path):
    config = tiny("mirror_gan")
    old = json.loads(settings.to_json(config))
    del old["compile"]
    (tmp_path / "config.json").write_text(json.dumps(old))
    there = settings.load_workdir_config(tmp_path)
    assert settings.differences(config, there) == []
    assert there["compile"] == "parts"
    # The same run however it is compiled.
    assert settings.differences(tiny("mirror_gan", compile="whole"), there) == []


def test_an_unreadable_workdir_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"no config\.json"):
        settings.load_workdir_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        settings.load_workdir_config(tmp_path)


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ("seed", "--set=seed is not of the form KEY=VALUE."),
        ("sead=1", "Unknown config key --set=sead. Did you mean --set=seed? Choose one of: accu"),
        ("game=3", "Unknown config key --set=game. Did you mean --set=game."),
        ("game.r3=3", "Did you mean --set=game.r"),
        ("batch_size=many", "--set=batch_size: the value must be of type int, got 'many'."),
        ("mixture.window=3", "--set=mixture.window: the value must be of type tuple, got 3."),
        ("step_size='x'", "--set=step_size: the value must be of type float, got 'x'."),
    ],
)
def test_an_override_that_cannot_be_is_one_sentence(item, says):
    config = common.planar("gaussians8", "adam", "tiny")
    with pytest.raises(InputError) as error:
        settings.override(config, [item])
    assert str(error.value).startswith(says) or says in str(error.value)


def test_overrides_are_of_the_types_of_the_keys():
    config = common.planar("gaussians8", "adam", "tiny")
    items = ("generator.step_size=3", "model.hidden_units=(3, 4)", "data.path=a/b", "seed=2")
    settings.override(config, [*items, "game.r1=1", "temperature=None"])
    assert config.generator.step_size == 3.0
    assert config.model.hidden_units == (3, 4)
    assert (config.data.path, config.seed, config.game.r1) == ("a/b", 2, 1.0)


def test_true_and_false_are_what_they_are_on_the_command_line():
    config = common.images("mnist", "adam", "tiny")
    settings.override(config, ["image.flip=true", "export=False", "data.cache=TRUE", "publish=ema"])
    assert (config.image.flip, config.export, config.data.cache) == (True, False, True)
    with pytest.raises(InputError, match="must be of type bool, got 'yes'"):
        settings.override(config, ["image.flip=yes"])


def test_a_run_of_an_earlier_version_has_the_penalties_it_had(tmp_path):
    config = tiny("adam")
    kept = ("objective", "gradient_penalty", "r1", "weight_clip")
    config["game"] = {key: config["game"][key] for key in kept}
    del config["mixture"]["when"], config["ema_half_lives"], config["ema_schedule"]
    for player in settings.PLAYERS:
        del config[player]["decay_2_schedule"], config[player]["inner_steps_schedule"]
    (tmp_path / settings.CONFIG).write_text(settings.to_json(config))
    assert settings.load_workdir_config(tmp_path) == tiny("adam")


def test_a_model_without_features_or_a_start_of_its_own_has_no_keys_of_them():
    """So that configs of earlier runs are what they were."""
    keys = {*settings.START, *settings.FOURIER}
    assert not keys & set(tiny()["model"])
    assert keys <= set(tiny(model__fourier_features=2, model__start_scale=0.5)["model"])
    assert not {*settings.FOURIER} & set(tiny(model__start_spread=1.0)["model"])


def test_a_network_of_the_users_own_reads_neither():
    config = common.planar("gaussians8", "adam", "tiny")
    config.model.update({"start_scale": 0.1, "fourier_features": 2, "generator": "mine.py:net"})
    model = settings.resolve(config)["model"]
    assert not {*settings.START} & set(model)
    assert model["fourier_features"] == 2
