"""Training, evaluation and comparison: everything with files, flags and devices."""

import runpy
import sys

if sys.argv[:1] == ["-m"]:  # perhaps a command of ours, which has not imported anything yet
    runpy.run_path(f"{__path__[0]}/../tf_mixed_nash/shadows.py")["at_start"]()
