"""The models of the serving tests; run as a program, it publishes them for a real server.

python -m tests.export.serving.models DIR
"""

from __future__ import annotations

import sys
from pathlib import Path

from export.strategy import publish_strategy
from tests.export.conftest import PLOT, make_image_strategy, make_strategy


def publish_models(folder: Path) -> None:
    """Publishes points/1 (8 generators), points/2 (one), images/1 (3, of 4 classes)."""
    facts = {"dataset": "gaussians8", "algorithm": "mirror_prox_gan", "plot": PLOT}
    publish_strategy(make_strategy(8), folder / "points", facts)
    publish_strategy(make_strategy(1), folder / "points", facts)
    publish_strategy(make_image_strategy(3, 4), folder / "images", {})


if __name__ == "__main__":
    publish_models(Path(sys.argv[1]))
