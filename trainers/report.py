"""The report of a run: one HTML file with its pictures, scores, curves, config and origin.

    python -m trainers.report --workdir=DIR [--output=FILE.html]

It needs nothing else and no network: send it, or open it in a browser. Of a run that is not
finished it says what there is so far. Without --output it is DIR/report.html, written anew by each
call.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import flags

from tf_mixed_nash.errors import InputError
from trainers.system import cli
from trainers.system.files import check_file


def main() -> int:
    """The command."""
    workdir, output = flags.FLAGS.workdir, flags.FLAGS.output
    if not workdir:
        raise InputError("Say which run, with --workdir=DIR.")
    path = Path(output) if output else None
    if path:
        check_file(path, "--output")
    from trainers.answers import report

    print(f"report  {report.write(Path(workdir), path)}")
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "A workdir of trainers.run.")
    flags.DEFINE_string("output", None, "The file; by default report.html in the workdir.")
    cli.main(main, sys.argv)
