"""Files of users: each run's own, whatever else its process has loaded."""

import pytest

from trainers.system import user_files

NETS = """
from importlib import import_module
from parts import width

dynamic = import_module("named_" + "nowhere").width

def size():
    from later import width
    return width
"""


@pytest.fixture
def folders(tmp_path):
    """Two folders with modules of the same names, and a file that is nobody's."""
    for i in (1, 2):
        folder = tmp_path / f"{i}"
        (folder / "pack").mkdir(parents=True)
        (folder / "nets.py").write_text(NETS)
        (folder / "other.py").write_text("import pack.one\nwidth = pack.one.width")
        (folder / "parts.py").write_text(f"width = {i}")
        (folder / "later.py").write_text(f"width = {10 * i}")
        (folder / "named_nowhere.py").write_text(f"width = {100 * i}")
        (folder / "pack/__init__.py").write_text("")
        (folder / "pack/one.py").write_text("from .two import width\nfrom . import three")
        (folder / "pack/two.py").write_text(f"width = {1000 * i}")
        (folder / "pack/three.py").write_text("import json")
    return tmp_path / "1", tmp_path / "2"


def load(folder, name):
    return user_files.load_object(f"{folder}/{name}", "x")


def named(folder, *files):
    return [path.removeprefix(f"{folder}/") for path in user_files.texts(folder / f for f in files)]


def test_a_file_imports_what_lies_beside_it_and_its_texts_are_those(folders):
    of_nets = ["named_nowhere.py", "nets.py", "parts.py"]
    of_other = ["other.py", "pack/__init__.py", "pack/one.py", "pack/three.py", "pack/two.py"]
    for i, folder in enumerate(folders, 1):
        assert load(folder, "nets.py:width") == i
        assert load(folder, "nets.py:dynamic") == 100 * i
        assert load(folder, "other.py:width") == 1000 * i
        assert named(folder, "nets.py") == of_nets
        assert named(folder, "other.py") == of_other
    # Also of the first, after the second took the names.
    assert named(folders[0], "nets.py") == of_nets
    assert named(folders[0], "other.py") == of_other
    assert named(folders[0], "nets.py", "other.py") == sorted([*of_nets, *of_other])
    assert user_files.texts([folders[0] / "parts.py"]) == {f"{folders[0]}/parts.py": "width = 1"}


def test_what_is_imported_later_counts_from_then_on(folders):
    size = load(folders[1], "nets.py:size")
    assert "later.py" not in named(folders[1], "nets.py")
    assert size() == 20
    assert "later.py" in named(folders[1], "nets.py")


def test_a_script_is_one_and_without_what_it_imports(folders):
    script = folders[0] / "parts.py"
    assert [*user_files.texts([], script)] == [str(script)]
    assert user_files.texts([folders[0] / "gone.py"]) == {}
    # Edited to nonsense while it is trained: its text is that.
    load(folders[0], "parts.py:width")
    script.write_text("width = (")
    assert user_files.texts([script]) == {str(script): "width = ("}


def test_a_fingerprint_of_code_is_of_what_it_does():
    """Also where there is no source, and of what a function closes over."""
    texts = ("lambda x: x + 1", "lambda x: x + 2", "lambda x: [y - 1 for y in x]", "lambda x: -x")
    prints = [user_files.fingerprint_of_code(eval(text)) for text in texts]
    assert len({*prints}) == 4
    assert prints == [user_files.fingerprint_of_code(eval(text)) for text in texts]

    def times(factor):
        def of(x):
            return again(x) if x < 0 else factor * x

        again = of
        return of

    def around(inner):
        return lambda x: inner(x)

    one, two = times(1), times(2)
    of = user_files.fingerprint_of_code
    assert of(one) == of(times(1)) != of(two)
    assert of(around(one)) == of(around(times(1))) != of(around(two))
