"""The models of the serving tests; run as a program, it publishes them for a real server.

python -m tests.export.serving.models DIR
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.export.conftest import publish_images, publish_points


def publish_models(folder: Path) -> None:
    """Publishes points/1 (8 generators), points/2 (one), images/1 (3, of 4 classes)."""
    publish_points(folder, 8)
    publish_points(folder, 1)
    publish_images(folder)


if __name__ == "__main__":
    publish_models(Path(sys.argv[1]))
