"""The command line: flags as absl and ml_collections read them, one message for bad input."""

import sys
from pathlib import Path

import pytest
from absl import flags
from ml_collections import config_flags

import configs
from trainers.system import cli as sut

# ml_collections loads config files in a way that Python gives up.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

CONFIG = """
from ml_collections import ConfigDict

def get_config(variant="whole"):
    return ConfigDict({"variant": variant, "seed": 0, "data": {"path": ""}})
"""


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Calls a command of --config and --workdir; returns its config, or its exit code if not 0."""
    folder = tmp_path / "my files" / "two  blanks"
    folder.mkdir(parents=True)
    file = folder / "a config.py"
    file.write_text(CONFIG)

    def call(*arguments):
        values = flags.FlagValues()
        config = config_flags.DEFINE_config_file("config", None, "c", flag_values=values)
        flags.DEFINE_string("workdir", None, "w", flag_values=values)
        argv = ["command", *(a.replace("FILE", str(file)) for a in arguments)]
        monkeypatch.setattr(flags, "FLAGS", values)
        monkeypatch.setattr(sys, "argv", argv)
        seen = []
        with pytest.raises(SystemExit) as ended:
            sut.main(lambda: seen.append(config.value.to_dict()), argv)
        return ended.value.code or seen[0]

    return call


FORMS = [["--config=FILE"], ["--config", "FILE"], ["-config=FILE"], ["-config", "FILE"]]


@pytest.mark.parametrize("form", FORMS)
def test_a_path_with_blanks_is_one_path(command, form):
    assert command(*form)["variant"] == "whole"
    assert command(*form[:-1], f"{form[-1]}:tiny", "--workdir", "a b")["variant"] == "tiny"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "key", [["--config.data.path=a  b -config.c"], ["--config.data.path", "a b"]]
)
def test_a_value_with_blanks_is_one_value(command, form, key):
    path = command(*form, *key, "--config.seed=3")["data"]["path"]
    assert path == key[-1].removeprefix("--config.data.path=")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("key", [["--config.sead=1"], ["--config.sead", "1"], ["-config.sead=1"]])
def test_an_unknown_key_is_named_with_the_next_one(command, capsys, form, key):
    assert command(*form, *key) == sut.BAD_INPUT
    said = capsys.readouterr().err
    assert "Unknown config key --config.sead. Did you mean --config.seed?" in said
    assert (
        "Choose one of: data.*, seed, variant. All of them: python -m trainers.run --list" in said
    )
    assert command(*form, "--config.data.nothing=1") == sut.BAD_INPUT
    assert "Choose one of: data.path. All of them: " in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named_whole(command, capsys):
    assert command("--config=no such file.py") == sut.BAD_INPUT
    assert "There is no config file 'no such file.py'." in capsys.readouterr().err


BUILTIN = str(Path(configs.__file__).with_name("gaussians8_mp.py"))


def test_a_built_in_experiment_is_found_by_its_name_from_anywhere(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert sut.find_config("gaussians8_mp") == BUILTIN
    assert sut.find_config("gaussians8_mp:tiny") == f"{BUILTIN}:tiny"
    assert capsys.readouterr().err == ""
    assert sut.find_config("configs/gaussians8_mp.py:tiny") == f"{BUILTIN}:tiny"
    said = f"note: there is no configs/gaussians8_mp.py here; the built-in {BUILTIN} is used.\n"
    assert capsys.readouterr().err == said
    assert sut.load_config("gaussians8_mp:tiny").num_batches == 4


def test_so_are_the_built_in_games_and_no_others(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert sut.find_file("configs/games.py") == str(Path(configs.__file__).with_name("games.py"))
    assert "there is no configs/games.py here" in capsys.readouterr().err
    for name in ("configs/none.py", "games.py", "elsewhere/games.py", "configs/games"):
        assert sut.find_file(name) == name
    assert capsys.readouterr().err == ""


def test_a_file_of_the_folder_is_itself(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("configs/gaussians8_mp.py", "gaussians8_mp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(CONFIG)
        assert sut.find_config(f"{name}:tiny") == f"{name}:tiny"
        assert sut.load_config(name).variant == "whole"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        ("gausians8_mp:tiny", "'gausians8_mp'. Did you mean gaussians8_mp? There are: cifar10_md,"),
        ("configs/gaussian8_mp.py", "Did you mean gaussians8_mp?"),
        ("gaussians8_mp.py", "'gaussians8_mp.py'. Did you mean gaussians8_mp?"),
        ("elsewhere/tuned.py", "'elsewhere/tuned.py'. There are: "),
        ("__init__", "'__init__'. There are: "),
        ("", "''. There are: "),
    ],
)
def test_another_name_is_refused_with_the_nearest(monkeypatch, tmp_path, address, hint):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(sut.InputError) as error:
        sut.find_config(address)
    assert hint in str(error.value)


@pytest.mark.parametrize(
    "form", [["--config=gaussians8_mp:tiny"], ["-config", "gaussians8_mp:tiny"]]
)
def test_a_command_takes_a_name(command, monkeypatch, tmp_path, form):
    monkeypatch.chdir(tmp_path)
    config = command(*form, "--config.seed=3")
    assert (config["dataset"], config["num_batches"], config["seed"]) == ("gaussians8", 4, 3)


def test_a_word_too_many_is_named(command, capsys):
    assert command("--config=FILE", "a b") == sut.BAD_INPUT
    assert "Unexpected argument 'a b'" in capsys.readouterr().err


def test_a_flag_without_its_value_is_refused(command):
    assert command("--config") == sut.BAD_INPUT
