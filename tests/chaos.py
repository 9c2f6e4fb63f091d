"""Kills runs at random moments, again and again, and compares them with runs left in peace.

    make chaos                                               40 kills
    python -m tests.chaos --kills=200 --seed=0 --jobs=2 --out=DIR [--report=docs/chaos.md]

For each case (an algorithm on a task) `python -m trainers.run` first runs undisturbed: the
reference. Then the same command runs on another workdir and is killed (SIGKILL, its whole
process group) or asked to stop (SIGTERM, SIGINT) at a random moment, is started again, and so
on until it finishes. After every kill the workdir must be sound (see `unsound`); at the end it
must be the reference, bit for bit (see `differences`).

Runs use a copy of the checkout in DIR/code, so that edits meanwhile do not matter.
DIR/results.jsonl grows by a line a finished round; the same command goes on after an interruption,
with the same copy (remove DIR/code.txt to go on with the code as it is by then).
Exit codes: 0 no difference, 1 some, 2 bad input.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.mutate import copy_of_the_project
from trainers.workdir.checkpoints import Checkpoints

ROOT = Path(__file__).parents[1]
KILLS_A_ROUND = 8
# So long may a session take, beyond any doubt.
PATIENCE = 600

_PLANAR = (
    "--config=configs/gaussians8_mp.py:tiny",
    "--config.num_batches=3000",
    "--config.log_every=50",
    "--config.picture_every=750",
    "--config.checkpoint_every=150",
)
_IMAGES = (
    "--config=configs/mnist_mp.py:tiny",
    "--config.dataset=folder",
    "--config.image.size=28",
    "--config.num_batches=300",
    "--config.log_every=10",
    "--config.picture_every=75",
    "--config.checkpoint_every=15",
)
# Flags of each case; {data} is the folder that `write_data` fills.
CASES: dict[str, tuple[str, ...]] = {
    "planar mirror_gan": (
        *_PLANAR,
        "--config.algorithm=mirror_gan",
        "--config.duality_gap.every=1000",
        "--config.keep_every=1000",
    ),
    "planar mirror_prox_gan": (*_PLANAR, "--config.keep_best=min:loss/theta"),
    "planar adam": (*_PLANAR, "--config.algorithm=adam", "--config.keep_last=1"),
    "planar past_extra_adam": (*_PLANAR, "--config.algorithm=past_extra_adam"),
    "planar chambolle_pock": (
        *_PLANAR,
        "--config.algorithm=chambolle_pock",
        "--config.chambolle_pock.extrapolate=parameters",
    ),
    "planar sample_md": (
        *_PLANAR,
        "--config.algorithm=sample_md",
        "--config.num_inner_steps=2",
        "--config.history_capacity=20",
    ),
    "images mirror_prox_gan": (*_IMAGES, "--config.data.path={data}/photographs.npy"),
    "images adam": (
        *_IMAGES,
        "--config.algorithm=adam",
        "--config.image.flip=true",
        "--config.data.path={data}/photographs",
    ),
    # Diverges and rolls back. Where it rolls back to depends on which checkpoints there are, so
    # requests to stop, which add one, are left out here.
    "planar sgd, rollback": (
        *_PLANAR,
        "--config.algorithm=sgd",
        "--config.num_batches=4000",
        "--config.checkpoint_every=200",
        "--config.game.gradient_penalty=0",
        "--config.step_size=0.03",
        "--config.on_divergence=rollback",
        "--config.max_rollbacks=8",
    ),
}
_ONLY_KILLS = {"planar sgd, rollback"}

# How moments are drawn: weights.
_MOMENTS = {
    "any": 2,  # uniform from the start of the process
    "begin": 1,  # while the workdir's first files appear
    "train": 5,  # uniform from the first step
    "write": 6,  # 0 to 30 ms after a checkpoint began to be written
    "finish": 2,  # uniform after the last checkpoint
}
_SIGNALS = {signal.SIGKILL: 8, signal.SIGTERM: 1, signal.SIGINT: 1}
_STOPPED = {signal.SIGTERM: 143, signal.SIGINT: 130}
PHASES = ("start-up", "training", "in write", "finish")


class Times(NamedTuple):
    """Seconds of the undisturbed run: in all, to its first step, of training, of the end."""

    total: float
    start: float
    train: float
    finish: float


class Session(NamedTuple):
    """One start of the command.

    Attributes:
      moment: how the moment of the signal was drawn.
      sent: the signal's name; "" if it ended before.
      phase: of PHASES, where the signal found it; "" if none was sent.
      code: the exit code.
      begun: whether it trained, scored or published (beyond start-up).
      problems: what was not as it must be.
    """

    moment: str
    sent: str
    phase: str
    code: int
    begun: bool
    problems: list[str]


# All that were started.
_RUNNING: list[subprocess.Popen] = []


# Watching a run.


class View:
    """What a workdir shows of the session that runs in it, cheap enough to look every ms."""

    def __init__(self, workdir: Path, total: int):
        self.workdir, self.total = workdir, total
        self._before = self._stamp()

    def _stamp(self) -> int:
        try:
            return (self.workdir / "provenance.json").stat().st_mtime_ns
        except OSError:
            return 0

    def names(self) -> list[str]:
        """Of checkpoints and what is being made of them."""
        try:
            return os.listdir(self.workdir / "checkpoints")
        except OSError:
            return []

    @property
    def begun(self) -> bool:
        """Whether this session has taken its checkpoint and is about to train."""
        return self._stamp() != self._before

    @property
    def exists(self) -> bool:
        return self.workdir.exists()

    @property
    def trained(self) -> bool:
        """Whether the last checkpoint is there."""
        return any(n.startswith("step_") and int(n[5:]) >= self.total for n in self.names())

    @property
    def finished(self) -> bool:
        return (self.workdir / "scorecard.json").is_file()

    def building(self) -> set[str]:
        return {n for n in self.names() if n.startswith((".building-", ".removing-"))}


def start(code: Path, arguments: Sequence[str], log: Path) -> subprocess.Popen:
    """The real command, in a process group of its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "trainers.run", *arguments],
            cwd=code,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _RUNNING.append(process)
    return process


def wait_until(process: subprocess.Popen, holds, seconds: float = PATIENCE) -> bool:
    """Whether `holds()` came true before the process ended; looks about every millisecond."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.001)
    return False


def sleep_while(process: subprocess.Popen, seconds: float) -> bool:
    """Sleeps; whether the process still runs then."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def until_moment(
    process: subprocess.Popen, view: View, moment: str, times: Times, draw: random.Random
) -> bool:
    """Waits for a moment of its kind; False if the process ended before."""
    if moment == "any":
        return sleep_while(process, draw.uniform(0, times.total))
    if moment == "begin":
        return wait_until(process, lambda: view.exists) and sleep_while(
            process, draw.choice((0, draw.uniform(0, 0.01), draw.uniform(0, 0.1)))
        )
    if not wait_until(process, lambda: view.begun):
        return False
    if moment == "train":
        return sleep_while(process, draw.uniform(0, times.train))
    if moment == "finish":
        return wait_until(process, lambda: view.trained) and sleep_while(
            process, draw.uniform(0, times.finish)
        )
    seen = view.building()
    for _ in range(draw.randint(1, 6)):

        def another() -> bool:
            fresh = view.building() - seen
            seen.update(fresh)
            return bool(fresh)

        if not wait_until(process, another):
            return False
    return sleep_while(process, draw.choice((0, draw.uniform(0, 0.01), draw.uniform(0, 0.03))))


def disturb(
    code: Path,
    arguments: Sequence[str],
    workdir: Path,
    reference: Path,
    times: Times,
    total: int,
    draw: random.Random,
    only_kills: bool,
) -> Session:
    """Starts the command, sends a signal at a random moment, and looks at what is left."""
    view, newest = View(workdir, total), newest_step(workdir)
    kinds = dict(_MOMENTS)
    if view.exists:
        kinds.pop("begin")
    moment = draw.choices([*kinds], [*kinds.values()])[0]
    number = draw.choices([*_SIGNALS], [*_SIGNALS.values()])[0]
    if only_kills or moment in ("any", "begin"):  # no handler is there before TensorFlow is
        number = signal.SIGKILL
    process = start(code, arguments, workdir.with_suffix(".log"))
    sent = until_moment(process, view, moment, times, draw)
    if sent:
        try:
            (os.killpg if number == signal.SIGKILL else os.kill)(process.pid, number)
        except ProcessLookupError:
            sent = False
    phase = _phase(view) if number != signal.SIGKILL else ""
    try:
        exit_code = process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return Session(moment, number.name, "", -1, True, [f"hung for {PATIENCE} s"])
    phase = phase or _phase(view)
    problems = []
    fine = {0} if view.finished else set()
    if sent:
        fine.add(_STOPPED.get(number, -number))
        if view.finished:  # the handlers are gone, the interpreter is not
            fine.add(-number)
    if exit_code not in fine:
        problems.append(f"exit code {exit_code} after {number.name if sent else 'no signal'}")
    problems += unsound(workdir, reference, newest)
    return Session(
        moment, number.name if sent else "", phase if sent else "", exit_code, view.begun, problems
    )


def _phase(view: View) -> str:
    if view.building():
        return "in write"
    if not view.begun:
        return "start-up"
    return "finish" if view.trained else "training"


def newest_step(workdir: Path) -> int:
    """Of the checkpoints; 0 without any."""
    return max(Checkpoints(workdir / "checkpoints").steps, default=0)


# What must hold.


def unsound(workdir: Path, reference: Path, newest: int) -> list[str]:
    """What a stopped run's workdir has that it must never have.

    Args:
      workdir: of the run.
      reference: the finished workdir of the same run.
      newest: the newest checkpoint before.
    """
    found = []
    checkpoints = Checkpoints(workdir / "checkpoints")
    for step in checkpoints.steps:
        try:
            checkpoints.saved(step)
        except Exception as error:
            found.append(f"checkpoint {step}: {error}")
    if newest_step(workdir) < newest:
        found.append(f"the newest checkpoint went back from {newest} to {newest_step(workdir)}")
    lines = _lines(workdir)
    expected = _lines(reference)
    if lines != expected[: len(lines)] and not _before_rollback(reference):
        first = next(i for i, (a, b) in enumerate(zip(lines, expected, strict=False)) if a != b)
        found.append(f"metrics.jsonl line {first + 1} differs")
    for name in ("config.json", "provenance.json", "recoveries.json", "scorecard.json"):
        path = workdir / name
        if path.is_file():
            try:
                json.loads(path.read_text())
            except ValueError:
                found.append(f"{name} is half-written")
    if not _before_rollback(reference):
        for path in (workdir / "samples").glob("step_*.png"):
            twin = reference / "samples" / path.name
            if not twin.is_file() or path.read_bytes() != twin.read_bytes():
                found.append(f"samples/{path.name} differs")
    return found + _unsound_versions(workdir)


def _before_rollback(reference: Path) -> bool:
    """Whether the run has lines and pictures on its way that a rollback replaces."""
    return (reference / "recoveries.json").is_file()


def _lines(workdir: Path) -> list[str]:
    """The whole lines of metrics.jsonl."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    return [x for x in lines if x.endswith("\n")]


def _unsound_versions(workdir: Path) -> list[str]:
    from export import publish
    from tf_mixed_nash.errors import InputError

    base, found = workdir / "export" / "generator", []
    numbers = publish.versions(base)
    if len(numbers) > 1:
        found.append(f"{len(numbers)} versions were published")
    for number in numbers:
        try:
            publish.read_manifest(base / str(number))
        except InputError as error:
            found.append(str(error))
    return found


def differences(workdir: Path, reference: Path) -> list[str]:
    """How a finished workdir differs from the reference; [] if it is the same bit for bit."""
    found = []
    for name in sorted(_compared(workdir) | _compared(reference)):
        ours, theirs = (_content(folder / name) for folder in (workdir, reference))
        if ours is None or theirs is None:
            found.append(f"{name} is missing {'here' if ours is None else 'in the reference'}")
        elif ours != theirs:
            found.append(f"{name} differs")
    found += _different_tensors(workdir, reference)
    ours, theirs = _golden(workdir), _golden(reference)
    if len(ours) != 1 or len(theirs) != 1:
        found.append(f"{len(ours)} versions are published, {len(theirs)} in the reference")
    else:
        found += _different_arrays(ours[0], theirs[0], "golden.npz")
    return found + _unsound_versions(workdir)


def _golden(workdir: Path) -> list[Path]:
    """The golden samples of the published versions, whose number a kill may have used up."""
    return sorted((workdir / "export" / "generator").glob("[0-9]*/assets.extra/golden.npz"))


def _compared(folder: Path) -> set[str]:
    """The files that must be the same bytes, by relative name."""
    names = {"metrics.jsonl", "scorecard.json", "recoveries.json", "samples/final.npz"}
    names = {n for n in names if (folder / n).exists()} | {"metrics.jsonl", "scorecard.json"}
    return names | {p.relative_to(folder).as_posix() for p in (folder / "samples").glob("*.png")}


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _different_tensors(workdir: Path, reference: Path) -> list[str]:
    ours, theirs = (Checkpoints(f / "checkpoints").read() for f in (workdir, reference))
    if ours is None or theirs is None:
        return ["there is no checkpoint"]
    if ours.saved.step != theirs.saved.step:
        return [f"the last checkpoint is {ours.saved.step}, not {theirs.saved.step}"]
    return _different(ours.tensors, theirs.tensors, f"checkpoint {ours.saved.step}")


def _different_arrays(path: Path, twin: Path, name: str) -> list[str]:
    with np.load(path) as ours, np.load(twin) as theirs:
        return _different(dict(ours), dict(theirs), name)


def _different(ours: Mapping[str, Any], theirs: Mapping[str, Any], where: str) -> list[str]:
    if ours.keys() != theirs.keys():
        return [f"{where} has other names: {', '.join(sorted(ours.keys() ^ theirs.keys()))}"]
    found = []
    for name in sorted(ours):
        a, b = np.asarray(ours[name]), np.asarray(theirs[name])
        if a.dtype != b.dtype or a.shape != b.shape:
            found.append(f"{where}: {name} has another shape or type")
        elif a.tobytes() != b.tobytes():
            most = np.max(np.abs(np.subtract(a, b, dtype=np.float64)))
            found.append(f"{where}: {name} differs by up to {most:.3g}")
    return found


def litter(workdir: Path) -> list[str]:
    """Files that no command will ever look at again."""
    return sorted(
        p.relative_to(workdir).as_posix()
        for p in workdir.rglob(".*")
        if p.name not in (".lock", ".last-version")
    )


# Cases and rounds.


def write_data(folder: Path) -> None:
    """Pieces of a real photograph: an .npy of grey ones, a folder of coloured PNGs."""
    import matplotlib.cbook
    from PIL import Image

    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        photo = Image.open(file).convert("RGB")
    corners = [(13 * i % 400, 29 * i % 480) for i in range(96)]
    parts = [photo.crop((x, y, x + 96, y + 96)).resize((28, 28)) for x, y in corners]
    (folder / "photographs").mkdir(parents=True, exist_ok=True)
    for i, part in enumerate(parts):
        part.save(folder / "photographs" / f"{i:03d}.png")
    # And two that cannot be read, which are skipped and counted.
    whole = (folder / "photographs" / "000.png").read_bytes()
    (folder / "photographs" / "096.png").write_bytes(whole[: len(whole) // 3])
    (folder / "photographs" / "097.png").write_bytes(b"no image at all")
    np.save(folder / "photographs.npy", np.stack([np.asarray(p.convert("L")) for p in parts]))


class Case:
    """A command, its reference, and its disturbed rounds.

    Args:
      name: a key of CASES.
      out: the folder of all.
    """

    def __init__(self, name: str, out: Path):
        self.name, self.out = name, out
        self.folder = out / "".join(c if c.isalnum() else "_" for c in name)
        self.flags = [flag.format(data=out / "data") for flag in CASES[name]]
        lengths = [f for f in self.flags if f.startswith("--config.num_batches=")]
        self.total = int(lengths[-1].partition("=")[2])
        self.reference = self.folder / "reference"

    def arguments(self, workdir: Path) -> list[str]:
        return [*self.flags, f"--workdir={workdir}"]

    def run_reference(self) -> Times:
        """The undisturbed run, if it is not there yet; the times of its phases."""
        notes = self.folder / "reference.json"
        if notes.is_file():
            return Times(*json.loads(notes.read_text()))
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        view, began = View(self.reference, self.total), time.monotonic()
        log = self.reference.with_suffix(".log")
        process = start(self.out / "code", self.arguments(self.reference), log)
        marks = []
        for holds in (lambda: view.begun, lambda: view.trained):
            wait_until(process, holds)
            marks.append(time.monotonic() - began)
        code = process.wait(PATIENCE)
        total = time.monotonic() - began
        if code:
            raise SystemExit(f"error: {self.name} ends with {code} undisturbed; see {log}.")
        times = Times(total, marks[0], marks[1] - marks[0], total - marks[1])
        notes.write_text(json.dumps(times))
        return times

    def run_round(self, number: int, seed: int, times: Times, kills: int) -> dict[str, Any]:
        """One run that is disturbed `kills` times, unless it finishes before."""
        workdir = self.folder / f"round_{number}"
        shutil.rmtree(workdir, ignore_errors=True)
        workdir.with_suffix(".log").unlink(missing_ok=True)
        began, sessions = time.monotonic(), []
        draw = random.Random(f"{seed}/{self.name}/{number}")
        while not (workdir / "scorecard.json").is_file():
            if sum(bool(s.sent) for s in sessions) < kills:
                sessions.append(
                    disturb(
                        self.out / "code",
                        self.arguments(workdir),
                        workdir,
                        self.reference,
                        times,
                        self.total,
                        draw,
                        self.name in _ONLY_KILLS,
                    )
                )
            else:
                newest = newest_step(workdir)
                log = workdir.with_suffix(".log")
                process = start(self.out / "code", self.arguments(workdir), log)
                code = process.wait(PATIENCE)
                problems = [f"exit code {code} in peace"] if code else []
                problems += unsound(workdir, self.reference, newest)
                sessions.append(Session("none", "", "", code, True, problems))
            if any(s.problems for s in sessions):
                break
        found = [p for s in sessions for p in s.problems]
        if not found:
            found = differences(workdir, self.reference)
        result = {
            "case": self.name,
            "round": number,
            "seconds": round(time.monotonic() - began, 1),
            "sessions": [s._asdict() for s in sessions],
            "differences": found,
            "litter": litter(workdir),
        }
        if not found:
            shutil.rmtree(workdir)
            workdir.with_suffix(".log").unlink()
        return result


def count(results: Sequence[Mapping[str, Any]], sent: str | None = None) -> collections.Counter:
    """Signals by phase; of SIGKILL or of the others or of all."""
    return collections.Counter(
        s["phase"]
        for result in results
        for s in result["sessions"]
        if s["sent"] and sent in (None, s["sent"])
    )


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Kills by phase, requests to stop, rounds and the result of each case, in Markdown."""
    head = ["case", "rounds", "kills", *PHASES, "SIGTERM", "SIGINT", "resumes", "result"]
    rows = []
    names = [n for n in CASES if any(r["case"] == n for r in results)]
    for name in [*names, "all"]:
        mine = [r for r in results if name in (r["case"], "all")]
        kills = count(mine, "SIGKILL")
        bad = sum(bool(r["differences"]) for r in mine)
        rows.append(
            [
                name,
                len(mine),
                kills.total(),
                *(kills[p] for p in PHASES),
                count(mine, "SIGTERM").total(),
                count(mine, "SIGINT").total(),
                sum(len(r["sessions"]) - 1 for r in mine),
                f"**{bad} rounds differ**" if bad else "equal",
            ]
        )
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "unknown")


def report(results: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> str:
    """The text of docs/chaos.md."""
    minutes = sum(r["seconds"] for r in results) / 60
    rounds = len(results)
    counted = collections.Counter(r["code"] for r in results)
    left = collections.Counter({r["code"]: 0 for r in results})
    for r in results:
        left[r["code"]] += len(r["litter"])
    codes = "\n".join(
        f"- Code of {n} rounds: {code}. Half-written files and folders that nothing would ever "
        f"remove, in their finished workdirs: {left[code]}."
        for code, n in counted.items()
    )
    return f"""# Killed at random moments

Written by `{facts["command"]}`; do not edit.

Each round is one run that is killed (SIGKILL, its process group) or asked to stop (SIGTERM,
SIGINT) at random moments and started again until it finishes. After every signal each checkpoint
must pass its checks, the newest must not be older than before, metrics.jsonl and the pictures must
be the beginning of the undisturbed run's; at the end the tensors of the last checkpoint,
metrics.jsonl, every picture, final.npz, scorecard.json, recoveries.json and the golden samples of
the one published version must be those of the undisturbed run, bit for bit. Phases are what the
signal found: *in write* left a half-written or half-removed checkpoint behind. The case with a
rollback gets no requests to stop: the checkpoint that one writes is a place to roll back to.

{table(results)}

{codes}
- Hardware: {_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()};
  file system {facts["file_system"]}; Python {platform.python_version()}.
- Seed {facts["seed"]}, {facts["jobs"]} runs at a time, {rounds} rounds, {minutes:.0f} minutes of
  runs, without the references.
- Every session is the real command, `python -m trainers.run`, with tiny networks: what is tested
  is the way in which state is kept, not the size of it. A kill ends a process; that data outlast a
  loss of power rests on fsync and was not tested.
"""


def _file_system(folder: Path) -> str:
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    holding = [m for m in mounts if folder.resolve().is_relative_to(m[1])]
    return max(holding, key=lambda m: len(m[1]))[2] if holding else "unknown"


def code_of(out: Path) -> str:
    """Copies the checkout to OUT/code, unless it is there; says what it is."""
    note = out / "code.txt"
    if not note.is_file():
        shutil.rmtree(out / "code", ignore_errors=True)
        (out / "code").mkdir(parents=True)
        copy_of_the_project(out / "code")
        digest = hashlib.sha256()
        for folder in ("tf_mixed_nash", "trainers", "export", "configs"):
            for path in sorted((out / "code" / folder).rglob("*.py")):
                digest.update(path.relative_to(out / "code").as_posix().encode())
                digest.update(path.read_bytes())
        git = ["git", "-C", str(ROOT)]
        commit = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "tf_mixed_nash", "trainers", "export", "configs"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.splitlines()
        more = f" with changes in {', '.join(x.split()[-1] for x in changed)}" if changed else ""
        note.write_text(f"{commit or 'no commit'}{more} (SHA-256 {digest.hexdigest()[:12]})")
    return note.read_text()


def run(
    out: Path, kills: int, seed: int, jobs: int, cases: Sequence[str], a_round: int = KILLS_A_ROUND
) -> list[dict[str, Any]]:
    """Runs what is not in results.jsonl yet; all results.

    Args:
      out: the folder.
      kills: SIGKILLs in all, at least; each case gets its share.
      seed: of the moments.
      jobs: runs at a time.
      cases: names of CASES.
      a_round: signals after which a run is left in peace.
    """
    code = code_of(out)
    if not (out / "data").is_dir():
        write_data(out / "data")
    path = out / "results.jsonl"
    results = [json.loads(x) for x in path.read_text().splitlines()] if path.is_file() else []
    results = [r for r in results if r["case"] in cases]
    share, lock = -(-kills // len(cases)), threading.Lock()

    def work(name: str) -> None:
        case = Case(name, out)
        times = case.run_reference()
        number = sum(r["case"] == name for r in results)
        while (done := count([r for r in results if r["case"] == name], "SIGKILL").total()) < share:
            result = case.run_round(number, seed, times, min(a_round, share - done + 1))
            result["code"] = code
            with lock:
                results.append(result)
                with path.open("a") as file:
                    file.write(json.dumps(result) + "\n")
                state = result["differences"] or "equal"
                signals = "".join(f" {s['sent'] or 'end'}:{s['phase']}" for s in result["sessions"])
                print(
                    f"{time.strftime('%H:%M:%S')} {name} round {number}: {state}, "
                    f"{result['seconds']:.0f} s,{signals}",
                    flush=True,
                )
            number += 1

    with ThreadPoolExecutor(jobs) as pool:
        try:
            for future in [pool.submit(work, name) for name in cases]:
                future.result()
        except KeyboardInterrupt:
            _end_now()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return results


def _end_now() -> None:
    """Ends the runs and this process; the rounds that they were in begin anew next time."""
    for process in _RUNNING:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    print("Stopped; the same command goes on.", flush=True)
    os._exit(130)


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=40, help="SIGKILLs in all, at least")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--out", type=Path, required=True, help="where everything is written")
    parser.add_argument("--report", type=Path, help="write the results there, in Markdown")
    parser.add_argument("--only", default="", help="a part of the cases' names")
    options = parser.parse_args(argv)
    cases = [name for name in CASES if options.only in name]
    if not cases or min(options.kills, options.jobs) < 1:
        print(f"error: --kills and --jobs are at least 1; cases: {', '.join(CASES)}")
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    out = options.out.resolve()
    results = run(out, options.kills, options.seed, options.jobs, cases)
    print(table(results))
    if options.report:
        arguments = " ".join(sys.argv[1:] if argv is None else argv)
        facts = {
            "command": f"python -m tests.chaos {arguments}",
            "file_system": _file_system(out),
            "seed": options.seed,
            "jobs": options.jobs,
        }
        options.report.write_text(report(results, facts))
    bad = [r for r in results if r["differences"]]
    for r in bad:
        print(f"{r['case']}, round {r['round']}: {'; '.join(r['differences'][:5])}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
