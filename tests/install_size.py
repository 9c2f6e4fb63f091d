"""What an install brings: its packages, their versions and their size on the disk.

    python -m tests.install_size                    the base install
    python -m tests.install_size --extra=serving

Builds the wheel, installs it by pip into a new virtual environment, and measures that.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.clean_install import build_wheel, clean_environment, install

# In the new environment: name, version and bytes of each distribution's files.
_MEASURE = """
import importlib.metadata, json
found = []
for one in importlib.metadata.distributions():
    paths = [one.locate_file(f) for f in one.files or ()]
    size = sum(p.stat().st_size for p in paths if p.is_file())
    found.append([one.metadata["Name"], one.version, size])
print(json.dumps(found))
"""


def measure(extra: str = "") -> list[tuple[str, str, int]]:
    """(name, version, bytes) of what an install brings, the largest first; without pip itself."""
    with tempfile.TemporaryDirectory() as folder:
        python = install(build_wheel(Path(folder, "wheel")), Path(folder, "environment"), extra)
        done = subprocess.run(
            [python, "-c", _MEASURE],
            env=clean_environment(),
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
    found = [tuple(one) for one in json.loads(done.stdout) if one[0] != "pip"]
    return sorted(found, key=lambda one: -one[2])


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--extra", default="", help="of setup.py, such as serving or all")
    extra = parser.parse_args().extra
    found = measure(extra)
    for name, version, size in found:
        print(f"{size / 1e6:9.1f} MB  {name} {version}")
    title = f"tf_mixed_nash[{extra}]" if extra else "tf_mixed_nash"
    print(f"{title}: {len(found)} packages, {sum(one[2] for one in found) / 1e6:,.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
