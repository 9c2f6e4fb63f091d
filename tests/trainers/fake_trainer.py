"""Stands in for trainers.run in the tests of campaigns: the same files, flags, signals, exit codes.

Its generator's distance is known: `wasserstein2` at step s of S is distance + (1 - s / S), where
distance = |log10(step_size) + 3| + damping. What a step size is to provoke, it provokes:

    2 diverges, 3 is bad input, 4 ends with a stack trace, 5 is killed in its first session

Every session adds the step at which it began to WORKDIR/sessions. Environment: FAKE_PAUSE, seconds
a step (or --config.ema_decay); FAKE_STEPS instead of num_batches; FAKE_SAMPLES=1 writes samples
and gives a distance of its own to each algorithm and seed.
"""

import ast
import fcntl
import json
import math
import os
import signal
import sys
import time
from pathlib import Path

flags = dict(argument.lstrip("-").split("=", 1) for argument in sys.argv[1:])
folder = Path(flags["workdir"])
step_size = float(flags.get("config.step_size", 0.001))
damping = float(flags.get("config.damping", 0.0))
whole = "FAKE_SAMPLES" in os.environ
pause = float(os.environ.get("FAKE_PAUSE", flags.get("config.ema_decay", 0.0)))
total = int(os.environ.get("FAKE_STEPS", flags["config.num_batches"]))
every = int(flags.get("config.score_every", 0))
distance = abs(math.log10(step_size) + 3) + damping
if whole:  # so that its runs differ
    name = "".join(flags.get(f"config.{key}", "") for key in ("algorithm", "seed"))
    distance += sum(map(ord, name)) / 1000

if step_size == 3:
    print("error: step_size is three.", file=sys.stderr)
    sys.exit(2)
folder.mkdir(parents=True, exist_ok=True)
held = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
try:
    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print(f"error: {folder} is in use by another trainer.", file=sys.stderr)
    sys.exit(2)


def write(name, content):
    """Whole or not at all, as the trainer's files are."""
    temporary = folder / f".{name}"
    temporary.write_text(content if isinstance(content, str) else json.dumps(content))
    temporary.replace(folder / name)


metrics, saved = folder / "metrics.jsonl", folder / "step"
step = int(saved.read_text()) if saved.exists() else 0


def stop(*_):
    time.sleep(0.3)  # that a checkpoint takes
    write("step", str(step))
    sys.exit(143)


signal.signal(signal.SIGTERM, stop)
with (folder / "sessions").open("a") as file:
    file.write(f"{step}\n")


def literal(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


config = {k.removeprefix("config."): literal(v) for k, v in flags.items() if "config." in k}
config["dataset"] = Path(flags["config"]).name.split("_m")[0]
write("config.json", config)
number = len((folder / "sessions").read_text().split())
hardware = {"processor": "P", "cores": 2, "gpus": [], "machine": "m"}
session = {"time": "t", "hardware": hardware, "commit": "c" * 40, "dirty": False}
write("provenance.json", {"versions": {"python": "3"}, "sessions": [session] * number})
lines = metrics.read_text().splitlines(keepends=True) if metrics.exists() else []
lines = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
write("metrics.jsonl", "".join(lines))
while step < total:
    time.sleep(pause)
    step += 1
    record = {"step": step, "loss/theta": 0.0}
    if every and step % every == 0:
        value = distance + 1 - step / total
        record |= {"score/last/wasserstein2": value, "score/ema/wasserstein2": value + 1}
        record |= {"score/last/law_distance": value, "score/ema/law_distance": value + 1}
    with metrics.open("a") as file:
        file.write(json.dumps(record) + "\n")
    if step_size == 2:
        sys.exit(3)
    if step_size == 4:
        raise RuntimeError("four")
    if step_size == 5 and not saved.exists():
        saved.write_text(str(step))
        os.kill(os.getpid(), signal.SIGKILL)
scores = {"last": distance + 0.5, "ema": distance, "mixture": distance + 1 if whole else None}
cards = {
    name: {"wasserstein2": value, "law_distance": value, "modes_captured": 8}
    for name, value in scores.items()
}
if whole:
    import numpy as np

    (folder / "samples").mkdir(exist_ok=True)
    np.savez(folder / "samples" / "final.npz", **{a: np.full((4, 2), d) for a, d in scores.items()})
write("scorecard.json", {"strategies": cards, "real_data_ceiling": {"wasserstein2": 0.2}})
