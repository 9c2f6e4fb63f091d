"""Publishing a trained strategy, and drawing from what was published.

`publish` (files and versions) and `runtime` (a version behind TensorFlow's C++ session) know
nothing of this project's models; only `strategy` does, on the writing side, and its command,
`saved_model`.
"""

import runpy
import sys

if sys.argv[:1] == ["-m"]:  # perhaps a command of ours, which has not imported anything yet
    runpy.run_path(f"{__path__[0]}/../tf_mixed_nash/shadows.py")["at_start"]()
