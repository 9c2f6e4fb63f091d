"""Rules for the whole package, read from its source."""

import ast
import importlib
import pathlib
import subprocess
import sys

import pytest

import tf_mixed_nash

ROOT = pathlib.Path(tf_mixed_nash.__file__).parent
TREES = {
    str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))
}
each_module = pytest.mark.parametrize("module", TREES)

DEFINITIONS = (ast.FunctionDef, ast.ClassDef)


def imported(tree):
    """The top-level packages that a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield node.module.split(".")[0]


def exported(tree):
    """The names in __all__, or None."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return None


def definitions(tree):
    return {node.name: node for node in tree.body if isinstance(node, DEFINITIONS)}


def test_there_is_something_to_check():
    assert {"algorithms.py", "methods/prox.py", "models/network.py"} <= set(TREES)
    assert "tensorflow" in set(imported(TREES["methods/prox.py"]))
    assert "Prox" in exported(TREES["methods/prox.py"])


@each_module
def test_the_mathematics_imports_neither_trainers_nor_export(module):
    if module.startswith("mixed_nash_gan/"):  # it drives a session (docs/decisions/0020)
        return
    forbidden = {"trainers", "export", "configs", "benchmarks", "tests", "absl", "ml_collections"}
    assert not forbidden & set(imported(TREES[module]))


@each_module
def test_the_mathematics_uses_no_distribution_strategy(module):
    attributes = {n.attr for n in ast.walk(TREES[module]) if isinstance(n, ast.Attribute)}
    assert "distribute" not in attributes


@each_module
def test_modules_have_a_docstring(module):
    assert ast.get_docstring(TREES[module])


@each_module
def test_modules_say_what_is_public(module):
    """__all__ holds defined names only; a package without definitions or imports needs none."""
    tree, names = TREES[module], exported(TREES[module])
    if names is None:
        assert module.endswith("__init__.py")
        assert not definitions(tree)
        assert not set(imported(tree)) - {"__future__"}
    else:
        name = f"tf_mixed_nash.{module[:-3].replace('/', '.')}".removesuffix(".__init__")
        assert names == sorted(set(names), key=names.index)
        assert set(names) <= set(dir(importlib.import_module(name)))


@each_module
def test_public_functions_and_classes_and_their_methods_are_documented(module):
    public = exported(TREES[module]) or []
    for name, node in definitions(TREES[module]).items():
        if name not in public:
            continue
        assert ast.get_docstring(node), name
        for method in node.body if isinstance(node, ast.ClassDef) else []:
            if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                assert ast.get_docstring(method), f"{name}.{method.name}"


def test_the_public_names_are_the_objects_of_their_modules():
    """Type checkers read one list of them, Python another: they agree."""
    block = next(n for n in TREES["__init__.py"].body if isinstance(n, ast.If))
    homes = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(homes) == sorted(tf_mixed_nash.__all__)
    for name, home in homes.items():
        assert getattr(tf_mixed_nash, name) is getattr(importlib.import_module(home), name)
    assert set(homes) <= set(dir(tf_mixed_nash))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        tf_mixed_nash.nothing  # noqa: B018


def test_importing_the_package_loads_no_tensorflow():
    """Nor does a name that needs none; one that needs it brings it."""
    code = (
        "import sys, tf_mixed_nash\n"
        "from tf_mixed_nash import InputError\n"
        "print('numpy' in sys.modules, 'tensorflow' in sys.modules)\n"
        "assert 'Box' in dir(tf_mixed_nash)\n"
        "sys.modules['tensorflow'] = None  # whose import takes seconds\n"
        "try: tf_mixed_nash.MatrixGame\n"
        "except ImportError as error: print(error.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False False", "tensorflow"]
    names = {}
    exec("from tf_mixed_nash import *", names)
    assert names["MatrixGame"].__module__ == "tf_mixed_nash.games.matrix"
    assert set(tf_mixed_nash.__all__) <= set(names)
