"""The command line: flags as absl and ml_collections read them, one message for bad input."""

import sys

import pytest
from absl import flags
from ml_collections import config_flags

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


def test_a_file_that_is_not_there_is_named_whole(command, capsys):
    assert command("--config=no such file.py") == sut.BAD_INPUT
    assert "There is no config file 'no such file.py'." in capsys.readouterr().err


def test_a_word_too_many_is_named(command, capsys):
    assert command("--config=FILE", "a b") == sut.BAD_INPUT
    assert "Unexpected argument 'a b'" in capsys.readouterr().err


def test_a_flag_without_its_value_is_refused(command):
    assert command("--config") == sut.BAD_INPUT
