"""Results of the study: one small JSON a run, kept when the workdir is gone.

RESULTS/runs/DATASET/STAGE/ALGORITHM/KEY.json, beside it KEY.npz with samples of each answer. They
are committed, so that a study goes on in other sessions and on other machines; a run whose record
is there is not done again. This module must stay free of TensorFlow.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tf_mixed_nash.errors import InputError
from trainers.campaigns.study.protocol import Planned
from trainers.experiment.settings import flatten
from trainers.system.files import save_arrays, write_atomically
from trainers.workdir.folder import ANSWERS, CARD, CONFIG, FINAL, records

__all__ = [
    "DIVERGED",
    "DONE",
    "add",
    "harvest",
    "load",
    "machine",
    "read_samples",
    "select",
    "thin",
]

DONE, DIVERGED = "done", "diverged"

NUM_SAMPLES = 1_000
_CURVE_POINTS = 40
_DIGITS = 6
# Keys of a config that say how a run is watched, kept and computed, not what it is.
_MACHINE = ("strategy", "data", "keep_", "checkpoint_every", "on_divergence", "max_rollbacks")


def load(results: Path) -> dict[str, dict[str, Any]]:
    """All records by key, in the order of their names; {} where there are none.

    Raises:
      InputError: for a file that is no record.
    """
    records = {}
    for path in sorted((results / "runs").glob("*/*/*/*.json")):
        try:
            record = json.loads(path.read_text())
            if record["key"] != path.stem:
                raise ValueError(f"its key is {record['key']}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} is no record of a run ({error!r}). Restore it from git, or remove it to "
                "have the run done again."
            ) from None
        records[path.stem] = record
    return records


def select(records: Iterable[Mapping[str, Any]], **facts: Any) -> list[Mapping[str, Any]]:
    """The records with these values of these fields."""
    return [r for r in records if all(r[k] == v for k, v in facts.items())]


def harvest(run: Planned, workdir: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a finished or diverged run.

    Args:
      run: with its step size.
      workdir: of trainers.run.
      facts: what the workdir does not know: status, command, jobs, threads, wall_seconds (of the
        commands of this session).

    Returns:
      See docs/reproduction.md.

    Raises:
      InputError: if the workdir is of another run.
    """
    config = flatten(_read(workdir / CONFIG))
    _check(run, config, workdir)
    provenance = _read(workdir / "provenance.json")
    card = _read(workdir / CARD) if facts["status"] == DONE else {}
    settings = run.settings
    # Of a search's hundreds of trials what they show is kept, and the command makes the rest again.
    trial = run.more and run.stage in ("sweep", "again")
    return {
        "key": run.key,
        **dataclasses.asdict(run),
        "batch_size": settings["batch_size"],
        "num_batches": settings["num_batches"],
        "status": facts["status"],
        "diverged_at": _diverged_at(workdir) if facts["status"] == DIVERGED else None,
        "scorecards": {a: _round(card["strategies"][a]) for a in ANSWERS} if card else {},
        "real_data_ceiling": _round(card["real_data_ceiling"]) if card else {},
        **_progress(workdir, curve=not trial),
        "settings": settings,
        "config": {} if trial else _kept(config),
        **_origin(provenance, facts),
    }


def add(results: Path, run: Planned, record: Mapping[str, Any], workdir: Path) -> Path:
    """Writes a record, and the samples of a final or large run; the record comes last."""
    path = results / "runs" / f"{run.path}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    final = workdir / FINAL
    if record["status"] == DONE and run.stage != "sweep" and final.is_file():
        with np.load(final) as saved:
            few = {a: saved[a][:NUM_SAMPLES].astype(np.float16) for a in ANSWERS}
        save_arrays(path.with_suffix(".npz"), few)
    text = json.dumps(record, indent=1, allow_nan=False) + "\n"
    # Lists of numbers on one line each: the files are committed, and read in reviews.
    text = re.sub(r"\[[^\[\]{}]*\]", lambda m: re.sub(r"\s+", " ", m[0]), text)
    return write_atomically(path, lambda temporary: temporary.write_text(text))


def read_samples(results: Path, record: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Samples [n, 2] of each answer; {} if the record has none."""
    where = ("dataset", "stage", "algorithm", "key")
    path = results / "runs" / "/".join(record[k] for k in where)
    path = path.with_name(path.name + ".npz")
    if not path.is_file():
        return {}
    with np.load(path) as saved:
        return {a: saved[a].astype(np.float64) for a in ANSWERS}


def machine(record: Mapping[str, Any]) -> str:
    """What times depend on beside the code, in words; times of two machines are not mixed.

    A run whose sessions were on different machines is on none: "several machines".
    """
    hardware = record["hardware"]
    if len(hardware) != 1:
        return "several machines"
    h = hardware[0]
    gpus = f", {' and '.join(h['gpus'])}" if h["gpus"] else ""
    plural = "s" if record["threads"] > 1 else ""
    return (
        f"{h['processor']}, {h['cores']} cores{gpus}, {record['jobs']} runs side by side with "
        f"{record['threads']} thread{plural} each"
    )


def thin(count: int, most: int = _CURVE_POINTS) -> list[int]:
    """At most so many indices of 0 ... count - 1, evenly spread, the last always among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})


def _progress(workdir: Path, curve: bool) -> dict[str, Any]:
    """`curve` and `seconds` from metrics.jsonl and times.jsonl."""
    rows = records(workdir)
    seconds = [r["seconds"] for r in rows if r.get("seconds") is not None]
    scored = [r for r in rows if any(k.startswith("score/") for k in r)]
    scored = [scored[i] for i in thin(len(scored))]
    names = sorted({k for r in scored for k in r if k.startswith("score/")})
    scores: dict[str, dict[str, list]] = {}
    for name in names:
        _, answer, metric = name.split("/", 2)
        scores.setdefault(answer, {})[metric] = [_short(r.get(name)) for r in scored]
    return {
        "seconds": _short(seconds[-1]) if seconds else None,
        "curve": {
            "step": [r["step"] for r in scored],
            "seconds": [_short(r.get("seconds")) for r in scored],
            "scores": scores,
        },
    }


def _origin(provenance: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    sessions = provenance["sessions"]
    hardware = [
        {k: s["hardware"][k] for k in ("processor", "cores", "gpus", "machine")} for s in sessions
    ]
    # In the order of their first sessions, each once.
    unique = [h for i, h in enumerate(hardware) if h not in hardware[:i]]
    return {
        "jobs": facts["jobs"],
        "threads": facts["threads"],
        # Of a run that was resumed they are only a part.
        "wall_seconds": _short(facts["wall_seconds"]) if len(sessions) == 1 else None,
        "hardware": unique,
        "versions": provenance["versions"],
        "draws": provenance.get("draws", 1),  # versions before the second law did not say
        "commits": list(dict.fromkeys(s["commit"] for s in sessions)),
        "dirty": any(s["dirty"] for s in sessions),
        "time": sessions[0]["time"],
        "sessions": len(sessions),
        "command": shlex.join(facts["command"]),
    }


def _check(run: Planned, config: Mapping[str, Any], workdir: Path) -> None:
    """Raises InputError unless the config is what the study wants."""
    for key, wanted in {**run.settings, "dataset": run.dataset}.items():
        wanted = list(wanted) if isinstance(wanted, tuple) else wanted
        names = [key] if key in config else [f"{p}.{key}" for p in ("generator", "discriminator")]
        for name in names:
            if config.get(name) != wanted:
                raise InputError(
                    f"{workdir} has {name}={config.get(name)!r} where the study has {wanted!r}: it "
                    "is of another run. Remove it, or give a new --runs."
                )


def _diverged_at(workdir: Path) -> int | None:
    found = sorted(workdir.glob("postmortem_*.json"))
    return _read(found[-1])["step"] if found else None


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({error}). Remove its workdir; the same command does it again."
        ) from None


def _kept(config: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved config; of the discriminator only what differs from the generator."""
    twin = lambda k: config.get(k.replace("discriminator.", "generator.", 1), ...)  # noqa: E731
    return {
        k: v
        for k, v in config.items()
        if not k.startswith(_MACHINE) and not (k.startswith("discriminator.") and twin(k) == v)
    }


def _round(card: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _short(v) for k, v in card.items()}


def _short(value: Any) -> Any:
    """Six digits are more than any of it is known to; what is not finite has no value."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
