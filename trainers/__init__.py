"""Training, evaluation and comparison: everything with files, flags and devices."""

import runpy
import sys

if sys.argv[:1] == ["-m"]:  # a command of `python -m`, before it has imported anything
    runpy.run_path(f"{__path__[0]}/../tf_mixed_nash/shadows.py")["ours_first"]()
