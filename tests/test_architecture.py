"""The rooms import one way; what finds a wrong arrow finds it."""

import pytest

from tests import architecture as sut


def test_rooms_import_only_rooms_above_them(capsys):
    assert sut.main() == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "text", "upward"),
    [
        ("trainers.system.cli", "from tf_mixed_nash.errors import InputError", False),
        ("trainers.system.cli", "def f():\n    from trainers.answers import reading", True),
        ("trainers.tasks.base", "from trainers.games import report", True),  # beside it
        ("export.strategy", "import trainers.workdir.checkpoints", True),
        ("export.saved_model", "from trainers.answers import reading", False),
        ("export.publish", "from trainers.answers import reading", True),
        ("trainers.campaigns.jobs", "from trainers.session import train", True),
        ("configs.games", "from tf_mixed_nash import MatrixGame", False),
        ("tf_mixed_nash.games.game", "from tf_mixed_nash import MatrixGame", True),
        ("tf_mixed_nash.games.game", "from tf_mixed_nash import rng", False),
    ],
)
def test_a_wrong_arrow_is_seen(source, text, upward):
    (one,) = sut.imports(source, text, {*sut.modules(), source})
    assert sut.is_upward(one) == upward


def test_circles_and_lazy_imports_are_found():
    arrows = [("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("e", "d")]
    assert sut.circles(arrows) == [["a", "b", "c"]]
    assert sut.circles(arrows[1:]) == []
    text = "import a\ndef f():\n    import b\n    def g():\n        from c import d\n"
    assert sut.lazy_imports(text) == 2
