"""From training to a served endpoint. See benchmarks/pages."""

# %% [markdown]
# # From training to a served endpoint
#
# A run ends with a SavedModel; the embedded server speaks TensorFlow Serving's REST and gRPC. It
# needs the extra `serving`: `pip install 'tf_mixed_nash[serving]'`.

# %%
import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

TINY = "--tiny" in sys.argv  # a few steps, for tests

folder = Path(tempfile.mkdtemp())
config = "gaussians8_mp:tiny" if TINY else "gaussians8_mp"
python = [sys.executable, "-m"]
subprocess.run(
    [*python, "trainers.run", f"--config={config}", f"--workdir={folder / 'run'}"],
    check=True,
    capture_output=TINY,
)

# %% [markdown]
# Publish one answer of the run as a version of a model, and verify it: the manifest, the
# checksums, the signatures, and that the same seeds give the same samples.

# %%
model = folder / "models/gaussians8"
for command in (
    ["export.saved_model", f"--workdir={folder / 'run'}", f"--output={model}"],
    ["export.verify", f"--model={model}"],
):
    done = subprocess.run([*python, *command], check=True, capture_output=True, text=True)
    print(done.stdout.strip().splitlines()[-1])

# %% [markdown]
# Serve it, on any free port. `http://127.0.0.1:PORT/` is a page to look at samples.

# %%
server = subprocess.Popen(
    [
        *(*python, "export.serve", "--model_name=gaussians8", f"--model_base_path={model}"),
        *("--rest_api_port=0", "--port=-1"),
    ],
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
)
address = None
for line in server.stdout:
    if found := re.search(r"http://[\d.]+:\d+", line):
        address = found[0]
        break

# %% [markdown]
# Row `[s, i]` asks for sample number i of seed s: the same numbers whatever else is in the
# request.

# %%
try:
    request = urllib.request.Request(
        f"{address}/v1/models/gaussians8:predict",
        data=json.dumps({"instances": [[0, 0], [0, 1], [7, 0]]}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        print(json.loads(answer.read())["predictions"])
finally:
    server.terminate()
    server.wait(timeout=60)

# %% [markdown]
# For TensorFlow Serving itself, `python -m export.tfserving` writes the compose and Kubernetes
# files. Everything else: [serving](../serving.md). Next: [the paper's claims](5_claims.md).
