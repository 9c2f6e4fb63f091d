"""setup.py and constraints.txt: what is tested together is what they say."""

import contextlib
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import setuptools
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PINS = {
    canonicalize_name(name): version
    for name, version in (
        line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if line
    )
}


@pytest.fixture(scope="module")
def arguments():
    """What setup.py passes to setuptools."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", found.update)
        patch.chdir(ROOT)
        exec(
            compile((ROOT / "setup.py").read_text(), "setup.py", "exec"),
            {"__file__": str(ROOT / "setup.py")},
        )
    return found


def test_what_is_locked_satisfies_every_requirement(arguments):
    """The GPU's and the benchmarks' packages are in environments of their own."""
    extras = arguments["extras_require"]
    texts = [*arguments["install_requires"]]
    texts += [t for name, listed in extras.items() if name not in ("gpu", "bench") for t in listed]
    for text in texts:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        assert name in PINS, text
        assert requirement.specifier.contains(PINS[name]), (text, PINS[name])


def test_dev_and_all_hold_every_extra_of_a_user(arguments):
    extras = arguments["extras_require"]
    for name, listed in extras.items():
        if name not in ("gpu", "bench", "docs", "dev"):
            assert set(listed) <= set(extras["all"]) <= set(extras["dev"]), name
    assert set(extras["docs"]) <= set(extras["dev"])
    assert not {Requirement(t).name for t in extras["all"]} & {
        Requirement(t).name for t in arguments["install_requires"]
    }


def test_every_extra_that_a_message_names_is_there(arguments):
    named = set()
    for path in (
        p for top in ("tf_mixed_nash", "trainers", "export") for p in (ROOT / top).rglob("*.py")
    ):
        text = path.read_text()
        named |= set(re.findall(r'extra\("(\w+)"', text))
        named |= set(re.findall(r"tf_mixed_nash\[([a-z]+)\]'", text))
    assert {"serving", "sweep", "tfds", "lmdb", "metrics"} <= named
    assert named <= set(arguments["extras_require"])


def test_every_file_of_the_packages_is_in_the_wheel(arguments):
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    tops = ("tf_mixed_nash/", "trainers/", "export/", "configs/")
    ours = [Path(name) for name in listed if name.startswith(tops)]
    data = {
        path.relative_to(ROOT)
        for package, patterns in arguments["package_data"].items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    for path in ours:
        package = ".".join(path.parent.parts)
        assert path in data if path.suffix != ".py" else package in arguments["packages"], path


def test_the_console_script_is_a_function(arguments):
    (script,) = arguments["entry_points"]["console_scripts"]
    name, _, address = script.partition(" = ")
    module, _, function = address.partition(":")
    assert name == "mixed-nash"
    assert callable(getattr(__import__(module, fromlist=["x"]), function))


def test_what_is_locked_can_be_installed_on_every_python_that_is_allowed():
    """Of 3.11 the first release, too: on Debian's 3.11.2 a package for 3.11.5 is an error."""
    too_new, found = [], 0
    for name, version in PINS.items():
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed = metadata.distribution(name)
            found += installed.version == version
            said: Any = installed.metadata
            allowed = SpecifierSet(said.get("Requires-Python") or "")
            too_new += [name] * ("3.11.0" not in allowed)
    assert too_new == []
    assert found > len(PINS) / 2
