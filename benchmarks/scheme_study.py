"""Is it the noise or the scheme that is ahead on the 25 Gaussians? docs/results/scheme.md.

    python -m benchmarks.scheme_study [--together=5] [--seeds=0,1,2,3,4] [--budget=MIN]
    python -m benchmarks.scheme_study --render

noise: each Langevin algorithm with what its sweep chose there, at temperature 0, beside the study's
own runs with their noise. scheme: RMSProp with what its sweep chose, moved by each scheme in turn:
at temperature 0, damping 1 and a flat prior those algorithms are RMSProp by another scheme. Seeds
share their initial networks and their data with the study's final runs, whose records are the other
side. The protocol is docs/results/protocol_study.md; how it runs, benchmarks/studies.py.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import studies
from benchmarks.studies import Setting, Study
from benchmarks.tuned_study import items_of
from trainers.campaigns import evidence
from trainers.campaigns.study.protocol import ALGORITHMS, PROTOCOLS, Records, choose
from trainers.campaigns.study.tables import METRICS, Stage, values_of
from trainers.system import cli

__all__ = ["JUDGED", "LANGEVIN", "RECORDS", "compared", "study", "tables"]

RECORDS = Path("docs/results/scheme.json")
_DATA = "gaussians25"
_PROTOCOL = PROTOCOLS["narrow"]
_SIZES = {"num_batches": _PROTOCOL.batches, "batch_size": _PROTOCOL.batch_size}
LANGEVIN = tuple(name for name, a in ALGORITHMS.items() if "temperature" in a.ranges)
_SCHEMES = tuple(name for name in LANGEVIN if name != "mirror_gan")  # which is RMSProp's own scheme
_COLUMNS = ("law_distance", "high_quality_3sigma", "std_ratio", "principal_std_log")
_COLUMNS += ("reverse_kl", "modes_captured")
JUDGED = ("law_distance", "high_quality_3sigma")
# At temperature 0 this makes RMSProp of a Langevin algorithm, which reads no weight decay.
_BARE = {"damping": 1.0, "prior_std": 0.0, "weight_decay": 0.0}


def study(records: Records) -> Study:
    """Of the algorithms whose sweep on the 25 Gaussians is whole.

    Args:
      records: of the study's narrow protocol, by key.
    """
    chosen = {name: choose(_PROTOCOL, _DATA, name, records) for name in (*LANGEVIN, "rmsprop")}
    best = {n: c.best.candidate.settings for n, c in chosen.items() if c and c.best}
    noise = [
        _setting(f"noise_{name}", f"{ALGORITHMS[name].title}, no noise", name, best[name])
        for name in LANGEVIN
        if name in best
    ]
    rmsprop = {**ALGORITHMS["rmsprop"].settings, **best.get("rmsprop", {}), **_BARE}
    scheme = [
        _setting(f"scheme_{name}", _title(name), name, rmsprop)
        for name in _SCHEMES
        if "rmsprop" in best
    ]
    columns = studies.columns(*_COLUMNS)
    stages = {"noise": noise, "scheme": scheme}
    return Study(stages, RECORDS, dict.fromkeys(stages, columns), "algorithm", more=tables)


def _title(name: str) -> str:
    return f"RMSProp moved as {ALGORITHMS[name].title}"


def _setting(name: str, title: str, algorithm: str, own: Mapping[str, Any]) -> Setting:
    items = items_of(algorithm, {**own, "temperature": 0.0}, _SIZES)
    return Setting(name, title, f"configs/{_DATA}_mp.py:pure", items)


def compared(
    runs: Mapping[str, Mapping[str, Any]], records: Records, stage: str, number: str
) -> list[tuple[str, evidence.Evidence]]:
    """(what, evidence) of the mixtures of a stage, paired by seed, with Holm's correction over it.

    Args:
      runs: of this study, setting's name -> seed -> record.
      records: of the paper's study, by key: the other side.
      stage: noise (the study's runs with their noise against those without) or scheme (RMSProp
        moved by another scheme against the study's RMSProp).
      number: a scorecard's key.
    """
    final = Stage(records, _PROTOCOL, _DATA, "final")
    found = []
    for setting in study(records).stages[stage]:
        name = setting.name.removeprefix(f"{stage}_")
        mine = {
            int(seed): one["answers"]["mixture"][number]
            for seed, one in runs.get(setting.name, {}).items()
        }
        if stage == "noise":
            theirs = values_of(final.runs(name), "mixture", number)
            what, sides = f"{ALGORITHMS[name].title}: its noise against none", (theirs, mine)
        else:
            theirs = values_of(final.runs("rmsprop"), "mixture", number)
            what, sides = f"{setting.title}, against RMSProp", (mine, theirs)
        if mine:
            found.append((what, evidence.weigh(*sides, METRICS[number].distance)))
    return studies.judged(found)


def tables(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: what is compared, of both stages."""
    records = studies.paper_study()
    rows = [
        [what, METRICS[number].title, e.outcome, evidence.gains(e, METRICS[number].digits)]
        for stage in ("noise", "scheme")
        for number in JUDGED
        for what, e in compared(runs, records, stage, number)
    ]
    return studies.markdown(["mixtures of", "number", "", "gain"], rows) if rows else ""


def main() -> int:
    """The command."""
    return studies.command(study(studies.paper_study()))


if __name__ == "__main__":
    studies.define_flags(study({}), "noise,scheme")
    cli.main(main, sys.argv)
