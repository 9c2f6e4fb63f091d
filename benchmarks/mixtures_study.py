"""What weighing a run's mixture gains and loses: the tables and the figure of docs/mixtures.md.

    python -m benchmarks.mixtures_study [--stages=ring,wide|all] [--seeds=0,1,2] [--jobs=2]
        [--budget=MIN] [--num_samples=2048]
    python -m benchmarks.mixtures_study --stages=all --render   # the tables, from the records alone

Runs as benchmarks/studies.py has them, and for each that ended `trainers.mixtures`, whose
mixture.json goes into docs/results/mixtures.json as far as the page shows it. The report.png of the
run with the wide window is docs/images/mixtures.png.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks import former, studies
from benchmarks.studies import Setting, Study
from tf_mixed_nash.errors import InputError
from trainers.system import cli
from trainers.workdir.folder import ANSWERS, MIXTURE, read_card, records

__all__ = ["STAGES", "STUDY", "monitored", "weighed", "windows"]

_RING = "configs/gaussians8_mp.py:pure"
_ONE = former.items("mirror_prox_gan")
_WIDE = ("mixture.window=(0.25, 1.0)", "mixture.num_components=60", "duality_gap.every=3000")
STAGES: dict[str, list[Setting]] = {
    "ring": [Setting("mixtures_ring", "one generator", _RING, _ONE)],
    "wide": [
        Setting(
            "mixtures_wide",
            "one generator, 60 snapshots of three quarters",
            _RING,
            (*_ONE, *_WIDE),
        )
    ],
}
_SCORES = ("high_quality_3sigma", "std_ratio", "reverse_kl")
STUDY = Study(
    STAGES,
    Path("docs/results/mixtures.json"),
    dict.fromkeys(STAGES, studies.columns("modes_captured", *_SCORES)),
    "generators",
    more=lambda runs: "\n\n".join([weighed(runs), windows(runs), monitored(runs)]),
)
# The strategies of mixture.json, as the page calls them.
_TITLES = {
    "last": "last",
    "ema": "ema",
    "mixture": "**uniform mixture** (published)",
    "single": "best single",
    "weighted": "weighted",
    "pruned": "pruned",
}
_GAME = ("num_components", "worst", "gap", "worst_fresh")
_REPORT = ("window", "num_components", "weights", *_SCORES, "gap")

Runs = Mapping[str, Mapping[str, Mapping[str, Any]]]


def _kept(workdir: Path) -> dict[str, Any]:
    """What the page shows of a run's mixture/mixture.json, and of its monitored gap."""
    found = json.loads((workdir / MIXTURE / "mixture.json").read_text())
    lines, card = records(workdir), read_card(workdir)
    assert card is not None
    end, ends = lines[-1]["step"], card.get("duality_gap", {}).get("strategies", {})
    gaps = [("last", x["step"], x["duality_gap"]) for x in lines[:-1] if "duality_gap" in x]
    gaps += [(a, end, ends[a]["duality_gap"]) for a in ANSWERS if a in ends]
    return {
        "num_samples": found["num_samples"],
        "seconds_of_payoffs": found["seconds_of_payoffs"],
        "game": {n: {k: e.get(k) for k in _GAME} for n, e in found["game"].items()},
        "strategies": {n: {k: c[k] for k in _SCORES} for n, c in found["strategies"].items()},
        "real": {key: found["real_data_ceiling"][key] for key in _SCORES},
        "report": [{key: row[key] for key in _REPORT} for row in found["report"]],
        "monitored": [{"answer": a, "step": step, "gap": gap} for a, step, gap in gaps],
    }


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def weighed(runs: Runs) -> str:
    """The strategies of every seed, in the game and scored, as Markdown.

    Args:
      runs: setting's name -> seed -> its record.
    """
    head = ["seed", "strategy", "generators", "worst", "gap", "fresh worst"]
    head += ["HQ 3 sigma", "std ratio", "reverse KL"]
    rows, real = [], None
    for seed, one in sorted(runs.get("mixtures_ring", {}).items(), key=lambda item: int(item[0])):
        if not (found := one.get("weighed")):
            continue
        real = found["real"]
        for strategy, title in _TITLES.items():
            game, card = found["game"].get(strategy, {}), found["strategies"].get(strategy, {})
            parts = game.get("num_components")
            row = [seed, title, "-" if parts is None else str(parts)]
            row += [_number(game.get(k), 3) for k in ("worst", "gap", "worst_fresh")]
            rows.append([*row, *_scores(card)])
    if real:
        rows.append(["", "real data", "-", "-", "-", "-", *_scores(real)])
    return studies.markdown(head, rows) if rows else "Not run yet: mixtures_ring."


def _scores(card: Mapping[str, float]) -> list[str]:
    digits = zip(_SCORES, (3, 2, 4), strict=True)
    return [_number(card.get(key), places) for key, places in digits]


def _wide(runs: Runs) -> Mapping[str, Any]:
    """Of the first seed with the wide window."""
    found = runs.get("mixtures_wide", {})
    return found[min(found, key=int)].get("weighed", {}) if found else {}


def windows(runs: Runs) -> str:
    """How both mixtures move with the window and M, of the run with the wide one, as Markdown."""
    rows, report = [], _wide(runs).get("report", ())
    if report:
        by = {(r["window"], r["num_components"], r["weights"]): r for r in report}
        for (window, M, how), uniform in by.items():
            best = by.get((window, M, "weighted"))
            if how != "uniform" or best is None:
                continue
            both = [
                " / ".join(_number(r[key], places) for r in (uniform, best))
                for key, places in zip(
                    ("high_quality_3sigma", "std_ratio", "gap"), (3, 2, 3), strict=True
                )
            ]
            rows.append([window, str(M), *both])
    head = ["window", "M", "HQ 3 sigma, uniform / weighted", "std ratio", "gap"]
    return studies.markdown(head, rows) if rows else "Not run yet: mixtures_wide."


def monitored(runs: Runs) -> str:
    """The duality gap on the way, of the run that measured it, as Markdown."""
    rows = [
        [line["answer"], f"{line['step']:,}", _number(line["gap"], 3)]
        for line in _wide(runs).get("monitored", ())
    ]
    head = ["answer", "mini-batches", "gap"]
    return studies.markdown(head, rows) if rows else "Not run yet: mixtures_wide."


def main() -> int:
    """The command."""
    f = flags.FLAGS
    if f.num_samples < 2:
        raise InputError(f"--num_samples must be at least 2, got {f.num_samples}.")
    if code := studies.command(STUDY):
        return code
    if f.render:
        return cli.DONE
    path = Path(f.records)
    known = json.loads(path.read_text())
    for stage in STAGES.values():
        for s in stage:
            for seed, one in known["runs"].get(s.name, {}).items():
                workdir = Path(f.out) / s.name / f"seed{seed}"
                if "weighed" in one or read_card(workdir) is None:
                    continue
                if not (workdir / MIXTURE / "mixture.json").is_file():
                    command = ["-m", "trainers.mixtures", f"--workdir={workdir}"]
                    command += [f"--num_samples={f.num_samples}"]
                    if code := subprocess.run([sys.executable, *command], check=False).returncode:
                        return code  # it has said why
                one["weighed"] = _kept(workdir)
                studies.save(path, known)
                if s.name == "mixtures_wide" and f.figure:
                    shutil.copyfile(workdir / MIXTURE / "report.png", f.figure)
    assert STUDY.more is not None
    print(f"\n{STUDY.more(known['runs'])}")
    return cli.DONE


if __name__ == "__main__":
    studies.define_flags(STUDY, "ring")
    flags.DEFINE_integer("num_samples", 2_048, "Held-out samples of every component.")
    flags.DEFINE_string("figure", "docs/images/mixtures.png", "Where the figure goes; empty: none.")
    cli.main(main, sys.argv)
