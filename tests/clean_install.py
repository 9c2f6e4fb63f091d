"""The distribution as a user gets it: a wheel, installed by pip into a new virtual environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.mutate import ROOT, copy_of_the_project

__all__ = ["build_wheel", "clean_environment", "install"]


def build_wheel(folder: Path) -> Path:
    """Builds the wheel from the tracked and new files of the checkout, in a new `folder`."""
    project, out = folder / "project", folder / "dist"
    project.mkdir(parents=True)
    copy_of_the_project(project)  # a build writes beside the sources
    # Without isolation, which would fetch setuptools again.
    options = ("--no-deps", "--no-build-isolation", f"--wheel-dir={out}")
    _pip(Path(sys.executable), "wheel", *options, str(project))
    (wheel,) = out.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path, extra: str = "") -> Path:
    """A virtual environment with the wheel and what it needs, in the versions of constraints.txt.

    Args:
      wheel: of `build_wheel`.
      folder: a new one.
      extra: of the distribution; none: the base install.

    Returns:
      The environment's python.
    """
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    what = f"{wheel}[{extra}]" if extra else str(wheel)
    _pip(python, "install", "--no-compile", f"--constraint={ROOT / 'constraints.txt'}", what)
    return python


def clean_environment(**more: str) -> dict[str, str]:
    """This process's variables but for those that tell Python or us where things are."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    kept.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return {**kept, **more}


def _pip(python: Path, *arguments: str) -> None:
    command = [str(python), "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"]
    subprocess.run(command, check=True, env=clean_environment())
