"""Renders what the documentation takes from records, registry and code; see the package.

python -m benchmarks.pages [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import flags

from trainers.system import cli
from trainers.system.files import write_atomically
from trainers.system.quiet import import_tensorflow


def main() -> int:
    """The command."""
    import_tensorflow()
    from benchmarks.pages.everything import ROOT, stale

    found = stale()
    for path, text in found.items():
        name = path.relative_to(ROOT).as_posix()
        if flags.FLAGS.check:
            print(f"stale: {name}")
        else:
            _write(path, text)
            print(f"wrote {name}")
    if not found:
        print("Every page is as the records and the code have it.")
    return int(bool(found) and flags.FLAGS.check)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


if __name__ == "__main__":
    flags.DEFINE_bool("check", False, "Only names what is stale; exit code 1 if anything is.")
    cli.main(main, sys.argv)
