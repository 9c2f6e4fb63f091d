"""Stands in for trainers.run in the tests of sweeps: the same files, flags, signals, exit codes.

Its generator's distance is known: `wasserstein2` at step s of S is distance + (1 - s / S), where
distance = |log10(step_size) + 3| + damping. What a step size is to provoke, it provokes:

    2 diverges, 3 is bad input, 4 ends with a stack trace, 5 is killed in its first session

Every session adds the step at which it began to WORKDIR/sessions.
"""

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
step_size = float(flags["config.step_size"])
damping = float(flags.get("config.damping", 0.0))
total, pause = int(flags["config.num_batches"]), float(flags.get("config.ema_decay", 0.0))
every = int(flags.get("config.score_every", 0))
distance = abs(math.log10(step_size) + 3) + damping

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
(folder / "config.json").write_text("{}")
metrics, saved = folder / "metrics.jsonl", folder / "step"
step = int(saved.read_text()) if saved.exists() else 0
with (folder / "sessions").open("a") as file:
    file.write(f"{step}\n")
lines = metrics.read_text().splitlines(keepends=True) if metrics.exists() else []
metrics.write_text("".join(line for line in lines if json.loads(line)["step"] <= step))


def stop(*_):
    time.sleep(0.3)  # that a checkpoint takes
    saved.write_text(str(step))
    sys.exit(143)


signal.signal(signal.SIGTERM, stop)
while step < total:
    time.sleep(pause)
    step += 1
    record = {"step": step, "loss/theta": 0.0}
    if every and step % every == 0:
        value = distance + 1 - step / total
        record |= {"score/last/wasserstein2": value, "score/ema/wasserstein2": value + 1}
    with metrics.open("a") as file:
        file.write(json.dumps(record) + "\n")
    if step_size == 2:
        sys.exit(3)
    if step_size == 4:
        raise RuntimeError("four")
    if step_size == 5 and not saved.exists():
        saved.write_text(str(step))
        os.kill(os.getpid(), signal.SIGKILL)
scores = {"last": distance + 0.5, "ema": distance, "mixture": None}
strategies = {name: {"wasserstein2": value, "modes_captured": 8} for name, value in scores.items()}
card = {"strategies": strategies, "real_data_ceiling": {"wasserstein2": 0.2}}
(folder / "scorecard.json").write_text(json.dumps(card))
