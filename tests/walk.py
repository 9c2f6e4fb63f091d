"""A stranger's walk: an empty folder, a new environment, the documentation's commands, timed.

    make walk
    python -m tests.walk --out=/tmp/walk      # in a folder that is kept

Builds the wheel, installs it with the extra `serving` in the versions of constraints.txt, and does
there what README.md, docs/install.md and docs/your_own.md tell: the ten lines of Python on data of
one's own, a table with two Keras models from the command line, its report, samples, a server and a
client. Every step's seconds, and what it printed on stderr beside a progress bar, are at the end.
Runs are shortened by `--num_batches`; nothing else is changed.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

from absl import flags

from tests.clean_install import build_wheel, clean_environment, install
from tests.mutate import ROOT
from trainers.system import cli

__all__ = ["Step", "in_a_folder", "main", "ten_lines", "unexpected"]

MODELS = """import keras


def generator():
    layers = [keras.Input((4,)), keras.layers.Dense(64, "relu"), keras.layers.Dense(3)]
    return keras.Sequential(layers)


def discriminator():
    layers = [keras.Input((3,)), keras.layers.Dense(64, "relu"), keras.layers.Dense(1)]
    return keras.Sequential(layers)
"""
TABLE = (
    "import numpy as np; x = np.random.default_rng(0).normal(size=(2000, 3)) * [10, 8, 4000]; "
    + ("np.savetxt('table.csv', x, '%.2f', ',', header='age,height,income', comments='')")
)
CLIENT = """import json, urllib.request
body = json.dumps({"instances": [[0, 0], [0, 1], [7, 0]]}).encode()
address = "http://127.0.0.1:8501/v1/models/table:predict"
print(json.load(urllib.request.urlopen(address, body, timeout=60)))
"""


class Step(NamedTuple):
    """A command of the walk: what it is for, its words, its seconds and its own words on stderr."""

    what: str
    words: str
    seconds: float
    said: str


def ten_lines(num_batches: int) -> str:
    """The README's Python with a shorter run."""
    text = (ROOT / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    assert "num_batches=5_000" in code
    return code.replace("num_batches=5_000", f"num_batches={num_batches}")


# TensorFlow's own, which nothing holds back once Python has imported it (docs/install.md).
_TENSORFLOW = re.compile(
    r"^[IWE]\d{4} \d\d:\d\d:|^WARNING: All log messages before absl|^To enable the"
)


def unexpected(stderr: str) -> str:
    """What is neither a progress bar nor TensorFlow's own."""
    lines = [line.rpartition("\r")[2] for line in stderr.splitlines()]
    lines = [line for line in lines if line.strip() and not re.search(r"\d+%\|.*batch", line)]
    return "\n".join(line for line in lines if not _TENSORFLOW.search(line))


def main() -> int:
    """The command."""
    kept = flags.FLAGS.out
    base = Path(kept or tempfile.mkdtemp(prefix="walk-")).absolute()
    base.mkdir(parents=True, exist_ok=True)
    try:
        steps = _walk(base, flags.FLAGS.num_batches)
    finally:
        if not kept:
            shutil.rmtree(base)
    for step in steps:
        print(f"{step.seconds:7.1f} s  {step.what:<12}{step.words}")
        if step.said:
            print("           " + step.said.replace("\n", "\n           "))
    print(f"{sum(step.seconds for step in steps):7.1f} s  in all")
    return int(any(step.said for step in steps))


def _walk(base: Path, num_batches: int) -> list[Step]:
    began = time.monotonic()
    python = install(build_wheel(base / "built"), base / "environment", "serving")
    seconds = time.monotonic() - began
    (base / "empty").mkdir()
    steps = [Step("install", "pip install 'tf_mixed_nash[serving]'", seconds, "")]
    return steps + in_a_folder(base / "empty", python, num_batches)


def in_a_folder(folder: Path, python: Path, num_batches: int) -> list[Step]:
    """The walk after its install.

    Args:
      folder: an empty one.
      python: of an environment that has the wheel.
      num_batches: of each run.
    """
    steps = []
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    environment = clean_environment(PATH=path)

    def call(what: str, *words: str) -> None:
        started = time.monotonic()
        done = subprocess.run(
            words, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        said = unexpected(done.stderr) + (f"\nexit {done.returncode}" if done.returncode else "")
        shown = " ".join(word if "\n" not in word and len(word) < 60 else "..." for word in words)
        steps.append(Step(what, shown, time.monotonic() - started, said.strip()))

    (folder / "mine.py").write_text(ten_lines(num_batches))
    (folder / "models.py").write_text(MODELS)
    call("ten lines", "python", "mine.py")
    call("own data", "python", "-c", TABLE)
    call(
        *("train", "mixed-nash", "run", "--config=gaussians8_mp:pure", "--config.dataset=vectors"),
        *("--config.data.path=table.csv", "--config.model.generator=models.py:generator"),
        *("--config.model.discriminator=models.py:discriminator", "--config.model.latent_dim=4"),
        *(f"--config.num_batches={num_batches}", "--workdir=runs/table"),
    )
    call("report", "mixed-nash", "report", "--workdir=runs/table")
    model = "models/table"
    call("publish", "mixed-nash", "publish", "--workdir=runs/table", f"--output={model}")
    call("sample", "mixed-nash", "sample", f"--model={model}", "--num=9", "--output=new.csv")
    call("verify", "mixed-nash", "verify", f"--model={model}")
    serve = ["mixed-nash", "serve", "--model_name=table", f"--model_base_path={model}"]
    started = time.monotonic()
    with subprocess.Popen(
        serve, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            _wait(server)
            steps.append(Step("serve", " ".join(serve), time.monotonic() - started, ""))
            call("client", "python", "-c", CLIENT)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
    call("TF Serving", "python", "-m", "export.tfserving", f"--model={model}")
    return steps


def _wait(server: subprocess.Popen) -> None:
    for _ in range(600):
        assert server.poll() is None, "the server ended"
        try:
            urllib.request.urlopen("http://127.0.0.1:8501/v1/models/table", timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError("no answer of the server in five minutes")


if __name__ == "__main__":
    flags.DEFINE_string("out", None, "A folder that is kept; none: a temporary one.")
    flags.DEFINE_integer("num_batches", 500, "Of each of the two runs.", lower_bound=2)
    cli.main(main, sys.argv)
