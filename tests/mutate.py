"""Breaks the mathematics on purpose and sees whether the suite goes red.

    make mutate                                   all of them, some seconds each
    python -m tests.mutate --only=prox.py         those of one file
    python -m tests.mutate --after_green          after a `make test` that passed, in half the time

Each mutation is one edit of one line in a copy of the project, and the test files that must
fail on it. A mutation that no longer applies, or that survives, ends with exit code 1.
"""

from __future__ import annotations

import argparse
import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.forkserver import ForkServer
from tests.mutations import MUTATIONS, Mutation

ROOT = Path(__file__).parents[1]
_PATIENCE = 600.0  # seconds for the test files of one mutation
_SERVER = ForkServer()
atexit.register(_SERVER.close)


def copy_of_the_project(folder: Path) -> Path:
    """The tracked and the new files of the checkout, in `folder`."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def tests_pass(folder: Path, tests: tuple[str, ...]) -> bool:
    """Whether the test files pass in the copy."""
    options = ("-x", "-q", "-m", "not slow", "-p", "no:cacheprovider")
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = _SERVER.run(
            "pytest", *options, *tests, cwd=folder, environment=environment, timeout=_PATIENCE
        ) or subprocess.run(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE,
        )
    except subprocess.TimeoutExpired:  # what hangs has been noticed
        return False
    if done.returncode not in (0, 1):
        raise SystemExit(f"pytest could not run {tests} in {folder}:\n{done.stdout}{done.stderr}")
    return done.returncode == 0


def outcome(folder: Path, mutation: Mutation) -> str:
    """ "killed", "SURVIVED", or "DOES NOT APPLY"."""
    path = folder / mutation.file
    source = path.read_text()
    if source.count(mutation.old) != 1:
        return "DOES NOT APPLY"
    try:
        path.write_text(source.replace(mutation.old, mutation.new))
        return "SURVIVED" if tests_pass(folder, mutation.tests) else "killed"
    finally:
        path.write_text(source)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="a part of the file's path")
    parser.add_argument(
        "--after_green", action="store_true", help="the whole suite has just passed: not once more"
    )
    arguments = parser.parse_args()
    only = arguments.only
    chosen = [m for m in MUTATIONS if only in m.file]
    if not chosen:
        files = sorted({m.file for m in MUTATIONS})
        print(f"error: no mutation of a file like {only!r}; there are: {', '.join(files)}")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_of_the_project(Path(folder))
        for tests in () if arguments.after_green else sorted({m.tests for m in chosen}):
            if not tests_pass(copy, tests):
                print(f"error: {', '.join(tests)} fail without any mutation.")
                return 2
        bad = 0
        for number, mutation in enumerate(chosen, 1):
            result = outcome(copy, mutation)
            bad += result != "killed"
            change = f"{mutation.old.strip()!r} -> {mutation.new.strip()!r}"
            print(f"{number:3}/{len(chosen)} {result:14} {mutation.file}: {change}", flush=True)
    print(f"{len(chosen) - bad} of {len(chosen)} mutations were killed.")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
