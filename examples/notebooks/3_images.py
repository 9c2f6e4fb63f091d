"""Images and FID, from a file of your own. See benchmarks/pages."""

# %% [markdown]
# # Images and FID
#
# Images come from a folder, an `.npz`, TFDS or LSUN's LMDB. Here they are drawn, so that nothing
# is downloaded: ten classes of bars and blobs. Put your own `images` (uint8 `[n, height, width, 1
# or 3]`) and `labels` in their place.

# %%
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

TINY = "--tiny" in sys.argv  # a few steps, for tests

r = np.random.default_rng(0)
n = 96 if TINY else 6_000
labels = np.arange(n) % 10
rows, columns = np.mgrid[:28, :28]
angle = labels[:, None, None] * np.pi / 10 + 0.05 * r.normal(size=(n, 1, 1))
distance = (rows - 14 - r.normal(size=(n, 1, 1))) * np.cos(angle) - (columns - 14) * np.sin(angle)
images = (255 * np.exp(-(distance**2) / 8)).astype(np.uint8)[..., None]

folder = Path(tempfile.mkdtemp())
np.savez(folder / "bars.npz", images=images, labels=labels)

# %% [markdown]
# A run is a command: DCGAN of 28 pixels, class by class. What `:tiny` leaves out is size alone. On
# one GPU a thousand mini-batches take seconds, on two cores minutes.

# %%
command = [
    *(sys.executable, "-m", "trainers.run"),
    "--config=mnist_mp" + (":tiny" if TINY else ""),
    *("--config.dataset=folder", f"--config.data.path={folder / 'bars.npz'}"),
    *("--config.image.size=28", "--config.model.conditional=true"),
    f"--workdir={folder / 'run'}",
]
if not TINY:
    command += ["--config.num_batches=1500", "--config.model.width=16"]
done = subprocess.run(command, capture_output=True, text=True, check=True)
print(done.stdout)

# %% [markdown]
# FID is the distance of two Gaussians that were fitted to features of generated and of real
# images. The features are those of a small committed classifier: **not Inception's**, and
# comparable with scores of the same network alone. Read every score beside that of fresh real
# data:

# %%
card = json.loads((folder / "run/scorecard.json").read_text())
for answer, scores in [*card["strategies"].items(), ("real data", card["real_data_ceiling"])]:
    print(
        f"{answer:<10}" + "".join(f"{k} {scores[k]:.3f}  " for k in ("fid", "precision", "recall"))
    )

# %% [markdown]
# The pictures are in the run's folder; a class has a row, with its name where the data have names.

# %%
print(sorted(p.name for p in (folder / "run/samples").glob("*.png")))

# %% [markdown]
# Everything else: [images](../images.md), [image metrics](../image_metrics.md). Next:
# [served](4_served.md).
