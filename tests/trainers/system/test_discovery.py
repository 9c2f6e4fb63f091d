"""What can be named, and what words of other libraries mean."""

import keras
import pytest

from configs import common, tuned
from tests.trainers.conftest import command
from tf_mixed_nash import models
from tf_mixed_nash.algorithms import ALGORITHMS
from tf_mixed_nash.games.objectives import OBJECTIVES
from trainers.system import cli, discovery, names
from trainers.tasks.data.synthetic import DATASETS

PLANE = cli.keys_of(common.planar("gaussians8", "adam"))
IMAGES = cli.keys_of(common.images("mnist", "adam"))


def test_what_is_read_from_the_text_is_what_is_imported():
    found = names.algorithms()
    assert {name: title for name, (title, _) in found.items()} == {
        name: entry.title for name, entry in ALGORITHMS.items()
    }
    assert found["mirror_gan"][1] == "the paper, Algorithm 3"
    assert not any("[" in source for _, source in found.values())
    assert names.objectives() == tuple(OBJECTIVES)
    assert {*DATASETS} < {*names.datasets()}


def test_families_are_read_as_the_networks_that_they_make():
    found = names.families()
    assert list(found) == list(models.FAMILIES)
    for name, (title, made, sizes) in found.items():
        family = models.FAMILIES[name]
        assert (title, sizes) == (family.title, tuple(family.sizes))
        for call, function in zip(made, family[1:3], strict=True):
            own, _, attribute = call.partition("(...)")
            assert getattr(models, own) is function
            model = function(28, 1, width=2)
            assert isinstance(getattr(model, attribute[1:]) if attribute else model, keras.Model)
    assert isinstance(models.mlp(2, 1, (2,)).model, keras.Model)


def test_there_are_twenty_keys_that_matter_each_with_its_default():
    assert len(discovery.KEYS) == 20
    assert set(discovery.KEYS) <= set(PLANE)
    found = discovery.defaults()
    assert found["step_size"] == f"{tuned.TUNED['mirror_prox_gan']['step_size']:g}"
    assert found["generator.num_particles"] == "1"
    assert found["model.hidden_units"] == "512,512,512"
    assert found["data.path"] == "-"


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("learning_rate", "step_size"),
        ("lr", "step_size"),
        ("generator.lr", "generator.step_size"),
        ("d_lr", "discriminator.step_size"),
        ("epochs", "num_batches"),
        ("max-steps", "num_batches"),
        ("latent_dim", "model.latent_dim"),
        ("model.z_dim", "model.latent_dim"),
        ("z_dim", "model.latent_dim"),
        ("beta_1", "decay_1"),
        ("epsilon", "stability or temperature"),
        ("optimizer", "algorithm"),
        ("loss", "game.objective"),
        ("objective", "game.objective"),
        ("n_critic", "discriminator_steps"),
        ("every", "duality_gap.every"),  # its group left out
        ("sead", "seed"),
        ("nothing like it", ""),
    ],
)
def test_words_of_other_libraries_are_understood(word, key):
    assert discovery.meant(word, PLANE) == key


def test_a_word_means_only_what_the_config_has():
    assert discovery.meant("resolution", IMAGES) == "image.size"
    assert "image" not in discovery.meant("resolution", PLANE)
    known = {*PLANE, *IMAGES}
    for word, keys in discovery.SYNONYMS.items():
        assert set(keys) <= known, word


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--config.learning_rate=1", "Did you mean --config.step_size? Choose one of"),
        ("--config.epsilon=1", "Did you mean --config.stability or --config.temperature?"),
        ("--lr=1", "Unknown flag --lr. Did you mean --config.step_size?"),
        ("--seed=1", "Unknown flag --seed. Did you mean --config.seed?"),
        ("--output_dir=x", "Unknown flag --output_dir. Did you mean --workdir?"),
    ],
)
def test_a_flag_in_anothers_words_is_answered(argument, said):
    done = command("trainers.run", "--config=gaussians8_mp", argument)
    assert done.returncode == cli.BAD_INPUT
    assert said in done.stderr


@pytest.mark.parametrize("name", ["many", "sweep"])
def test_commands_of_many_runs_take_keys_by_set(name):
    done = command(f"trainers.{name}", "--config=gaussians8_mp", "--lr=1")
    assert done.returncode == cli.BAD_INPUT
    assert "Did you mean --set=step_size? Keys of the config are given by --set" in done.stderr


def test_the_help_names_all_that_can_be_chosen():
    text = discovery.help_text()
    for word in (*ALGORITHMS, *OBJECTIVES, *names.datasets(), *models.FAMILIES, *discovery.KEYS):
        assert f" {word}" in text
    networks = text.partition("\nNetworks")[2].partition("\n\n")[0]
    for family in names.families().values():
        for said in (family.title, ", ".join(map(str, family.sizes)), *family.models):
            assert said in networks
    assert max(map(len, text.splitlines())) <= 120
    whole = discovery.everything(cli.flatten(common.planar("gaussians8", "adam")))
    assert whole.startswith(text)
    assert "swissroll_md" in whole
    assert "  duality_gap.num_steps" in whole


@pytest.mark.parametrize(
    ("kind", "config", "other"),
    [
        ("data in the plane", common.planar("gaussians8", "adam"), "cifar10_mp"),
        ("images", common.images("mnist", "adam"), "gaussians8_mp"),
    ],
)
def test_the_list_says_how_to_see_the_keys_of_the_other_kind(kind, config, other):
    whole = discovery.everything(cli.flatten(config))
    (line,) = (x for x in whole.splitlines() if x.startswith(f"Every key of {kind}"))
    assert line.endswith(f"--config={other} --list")
    beside = cli.keys_of(cli.load_config(other))
    assert ("image.size" in beside) != ("  image.size" in whole)
