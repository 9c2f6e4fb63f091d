"""Breaks the mathematics on purpose and sees whether the suite goes red.

    make mutate                                   all of them, some seconds each
    python -m tests.mutate --only=prox.py         those of one file
    python -m tests.mutate --first prox.py nash.py    all of them, those of these files first
    python -m tests.mutate --after_green          after a `make test` that passed, in half the time

Each mutation is one edit of one line in a copy of the project, and the test files that must
fail on it. "killed" names the test that failed. Where the time ran out nobody has failed: the same
files are run without the mutation, and only if they take far less is it one that "hangs"; else it
is "TIMED OUT", which says nothing. What survives, no longer applies, timed out or keeps pytest
from running ends with exit code 1.

Which test killed a mutation is kept in tests/killers.json, and tried first the next time: where it
fails again, seconds have told what the files took minutes for.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.forkserver import ForkServer
from tests.mutations import MUTATIONS, Mutation

ROOT = Path(__file__).parents[1]
KILLERS = ROOT / "tests/killers.json"
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


def run_tests(folder: Path, tests: tuple[str, ...]) -> tuple[str, str]:
    """What the test files give in the copy, and more about it.

    Returns:
      "passed"; "failed", with the first test that did; "out of time"; or "cannot run", with what
      pytest printed.
    """
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
    except subprocess.TimeoutExpired:
        return "out of time", ""
    failed = re.search(r"^(?:FAILED|ERROR) (\S+::\S+)", done.stdout, re.MULTILINE)
    if done.returncode == 0:
        return "passed", ""
    if done.returncode == 1 and failed:
        return "failed", failed[1]
    return "cannot run", f"exit code {done.returncode}\n{done.stdout}{done.stderr}"


def outcome(folder: Path, mutation: Mutation, killer: str = "") -> tuple[str, str]:
    """Its word ("killed", "hangs", "SURVIVED", ...), and which test failed.

    Args:
      folder: a copy of the project.
      mutation: to be tried.
      killer: the test that failed the last time, "" if none is known.
    """
    path = folder / mutation.file
    source = path.read_text() if path.exists() else ""
    if source.count(mutation.old) != 1:
        return "DOES NOT APPLY", ""
    try:
        path.write_text(source.replace(mutation.old, mutation.new))
        result, more = run_tests(folder, (killer,)) if killer else ("", "")
        if result != "failed":  # it passes now, or is no test any more, or hangs
            result, more = run_tests(folder, mutation.tests)
    finally:
        path.write_text(source)
    if result == "out of time":  # of the mutation, or of a machine with other work?
        start = time.monotonic()
        sound, _ = run_tests(folder, mutation.tests)
        quick = sound == "passed" and time.monotonic() - start < _PATIENCE / 3
        return ("hangs" if quick else "TIMED OUT"), ""
    words = {"passed": "SURVIVED", "failed": "killed", "cannot run": "CANNOT RUN"}
    return words[result], more


def _name(mutation: Mutation) -> str:
    return f"{mutation.old.strip()} -> {mutation.new.strip()}"


def remember(mutation: Mutation, killer: str, path: Path = KILLERS) -> None:
    """Writes who killed it into the file; what is no mutation any more leaves it.

    Args:
      mutation: that was killed.
      killer: the test that failed.
      path: of the file: mutated file -> "old -> new" -> test.
    """
    known = _known(path)
    known.setdefault(mutation.file, {})[_name(mutation)] = killer
    by_file: dict[str, dict[str, str]] = {}
    for m in MUTATIONS:
        if test := known.get(m.file, {}).get(_name(m)):
            by_file.setdefault(m.file, {})[_name(m)] = test
    path.write_text(json.dumps(by_file, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _known(path: Path = KILLERS) -> dict[str, dict[str, str]]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def stale() -> list[str]:
    """What no longer applies: lines that are not, or not once, in their file, and lost tests.

    One that no longer applies breaks nothing, and nobody sees what nothing holds.
    """
    texts = {
        file: (ROOT / file).read_text(encoding="utf-8") for file in {m.file for m in MUTATIONS}
    }
    lines = [
        f"{m.file}: {m.old!r} is there {n} times"
        for m in MUTATIONS
        if (n := texts[m.file].count(m.old)) != 1
    ]
    tests = sorted({t for m in MUTATIONS for t in m.tests if not (ROOT / t).exists()})
    return lines + [f"{test} is not there" for test in tests]


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="a part of the file's path")
    parser.add_argument(
        "--after_green", action="store_true", help="the whole suite has just passed: not once more"
    )
    parser.add_argument("--first", nargs="+", default=[], help="parts of the paths to begin with")
    parser.add_argument(
        "--check", action="store_true", help="only whether every mutation still applies"
    )
    arguments = parser.parse_args()
    if arguments.check:
        print("\n".join([*(lines := stale()), f"{len(MUTATIONS)} mutations, {len(lines)} stale"]))
        return 1 if lines else 0
    only = arguments.only
    chosen = [m for m in MUTATIONS if only in m.file]
    chosen.sort(key=lambda m: not any(part in m.file for part in arguments.first))
    if not chosen:
        files = sorted({m.file for m in MUTATIONS})
        print(f"error: no mutation of a file like {only!r}; there are: {', '.join(files)}")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_of_the_project(Path(folder))
        for tests in () if arguments.after_green else sorted({m.tests for m in chosen}):
            result, more = run_tests(copy, tests)
            if result != "passed":
                print(f"error: {', '.join(tests)} without any mutation: {result} {more}")
                return 2
        counts, known = Counter(), _known()
        for number, mutation in enumerate(chosen, 1):
            killer = known.get(mutation.file, {}).get(_name(mutation), "")
            result, more = outcome(copy, mutation, killer)
            counts[result] += 1
            if result == "killed" and more != killer:
                remember(mutation, more)
            change = f"{mutation.old.strip()!r} -> {mutation.new.strip()!r}"
            by = f"  [{more}]" if more else ""
            print(f"{number:3}/{len(chosen)} {result:14} {mutation.file}: {change}{by}", flush=True)
    print(f"{len(chosen)} mutations: " + ", ".join(f"{n} {word}" for word, n in counts.items()))
    return 0 if set(counts) <= {"killed", "hangs"} else 1


if __name__ == "__main__":
    sys.exit(main())
