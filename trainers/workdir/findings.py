"""What is wrong with a run, as its records show it: findings with their evidence and what helps.

A finding is a function of the records so far (metrics.jsonl), so that a resumed run finds the
same. Measures of single looks (`health/...`, trainers/session/health.py) must hold in the last
three looks, and those of samples count after the first fifth of the run; fields and losses are
those that every run has recorded.

This module must stay free of TensorFlow.
"""

from __future__ import annotations

import contextlib
import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trainers.workdir.folder import METRICS, whole_lines

__all__ = [
    "HELP",
    "LOOK",
    "Finding",
    "damage",
    "diverged",
    "entries",
    "find",
    "lines",
    "looked",
    "looks_of",
    "of_look",
    "of_run",
    "read",
    "said",
]

PREFIX, LOOK = "finding/", "health/"
LOOKS = 3  # that must agree
_GRACE = 0.2  # of the run, before samples are judged
_NAMES = {"theta": "generator", "w": "discriminator"}

# What usually helps. docs/diagnosis.md says more.
HELP = {
    "collapsed_samples": "a smaller step size of the generator; a penalty (game.r1, game.r2 or "
    "game.gradient_penalty); data that are scaled as the generator's last activation reaches",
    "lost_modes": "objective=relativistic with game.r1 and game.r2; game.packing=2; several "
    "generators (num_particles); a larger mini-batch; the mixture as the answer",
    "duplicates": "the mixture, which has the spread that the last iterate lacks; latents of more "
    "dimensions",
    "memorised_data": "more data, image.flip, augmentation; a smaller discriminator; an earlier "
    "checkpoint (keep_best), or init_from a model of more data",
    "discriminator_overfits": "more data, image.flip, augmentation; game.r1; a smaller "
    "discriminator; an earlier checkpoint (keep_best); init_from a model of more data",
    "discriminator_saturated": "a smaller discriminator.step_size, or a larger one of the "
    "generator; game.r1 or game.gradient_penalty; more data where it knows the few by heart",
    "discriminator_dead": "a smaller discriminator.step_size; another activation than ReLU; "
    "less game.r1 or game.weight_clip",
    "discriminator_left_behind": "a larger discriminator.step_size, discriminator_steps=2, a wider "
    "discriminator, or less penalty",
    "generator_without_signal": "objective=nonsaturating or relativistic in place of minimax; a "
    "smaller discriminator.step_size; game.r1",
    "exploding_field": "a smaller step_size (a tenth); a penalty on the discriminator",
    "vanishing_field": "a penalty in place of weight clipping; objective=nonsaturating; layers "
    "with normalisation; a smaller discriminator.step_size",
    "exploding_parameters": "a smaller step_size (a tenth); a smaller temperature; a linear or "
    "cosine step_size_schedule",
    "diverged": "a smaller step_size or temperature; on_divergence=rollback; in a "
    "lower precision, precision=float32",
}


class Finding(NamedTuple):
    """Something that is wrong.

    Attributes:
      name: a key of HELP.
      player: "theta" or "w" where it is about one of them, else "".
      evidence: what was measured, and what a good run has; without a full stop.
      since: the mini-batch from which on it holds without a break.
    """

    name: str
    player: str
    evidence: str
    since: int

    @property
    def key(self) -> str:
        """The entry of a record."""
        return f"{PREFIX}{self.name}" + (f"/{self.player}" if self.player else "")

    @property
    def helps(self) -> str:
        """What usually does; without a full stop."""
        return HELP[self.name]

    @property
    def facts(self) -> dict[str, Any]:
        """For JSON: its attributes and `helps`."""
        return {**self._asdict(), "helps": self.helps}


class _Rule(NamedTuple):
    """Of single looks: `ill` must hold in the last LOOKS.

    Attributes:
      name: of the finding.
      player: see `Finding`.
      ill: of a look's measures.
      say: of the last one's.
      early: whether it counts from the beginning on.
    """

    name: str
    player: str
    ill: Callable[[Mapping[str, float]], bool]
    say: Callable[[Mapping[str, float]], str]
    early: bool = False


def _growth(player: str) -> _Rule:
    key = f"growth/{player}"
    return _Rule(
        "exploding_parameters",
        player,
        lambda x: x[key] > 20.0,
        lambda x: (
            f"the {_NAMES[player]}'s parameters are {x[key]:.3g} times as long as at the "
            "beginning (usual: below 10)"
        ),
        early=True,
    )


def _apart(x: Mapping[str, float]) -> bool:
    """Whether the samples are still another law than the data, beyond chance."""
    return x["distance"] > 0.05


_RULES = (
    _Rule(
        "collapsed_samples",
        "",
        lambda x: x["diversity"] < 0.25,
        lambda x: (
            f"two samples are {x['diversity']:.3g} times as far apart as two real rows "
            "(usual: 0.7 to 1.2)"
        ),
    ),
    _Rule(
        "lost_modes",
        "",
        lambda x: x["kinds"] <= 0.6 * x["num_kinds"],
        lambda x: f"the samples are of {x['kinds']:.0f} of the data's {x['num_kinds']:.0f} kinds",
    ),
    _Rule(
        "duplicates",
        "",
        lambda x: x["duplicates"] > 0.2,
        lambda x: f"{x['duplicates']:.0%} of the last iterate's samples have a twin (usual: none)",
    ),
    _Rule(
        "memorised_data",
        "",
        lambda x: x.get("memorised", 0.0) > 0.25 * x["known"] + 3.0 * x.get("by_chance", 0.0),
        lambda x: (
            f"{x['memorised']:.0%} of the samples lie three times as near to one training "
            f"row as to any other (real rows to others: {x['by_chance']:.0%})"
        ),
    ),
    _Rule(
        "discriminator_overfits",
        "w",
        # Of a set that is looked at whole, as few rows are.
        lambda x: (
            "memorised" in x
            and x["known"] == 1.0
            and x["separation"] > 0.99
            and x["distance"] < 0.1
        ),
        lambda x: (
            f"it puts {x['separation']:.1%} of the pairs of training and generated rows in "
            f"order, though they lie alike (distance {x['distance']:.2g}): it knows the few "
            "training rows by heart"
        ),
    ),
    _Rule(
        "discriminator_saturated",
        "w",
        lambda x: x["pull/w"] < 0.01 and _apart(x),
        lambda x: (
            f"its loss pulls at its answers with {x['pull/w']:.2g} of its strength, and it "
            f"puts {x['separation']:.1%} of the pairs of real and generated rows in order: it has "
            "nothing left to learn"
        ),
    ),
    _Rule(
        "generator_without_signal",
        "theta",
        lambda x: x["pull/theta"] < 0.01 and _apart(x),
        lambda x: (
            f"its loss pulls at the discriminator's answers with {x['pull/theta']:.2g} of "
            "its strength, while its samples are not the data"
        ),
    ),
    _Rule(
        "discriminator_dead",
        "w",
        lambda x: x["d_spread"] < 1e-3 and _apart(x),
        lambda x: (
            f"its answers differ by {x['d_spread']:.2g} only (standard deviation) over real "
            "and generated rows, which are not the same"
        ),
        early=True,
    ),
    _Rule(
        "discriminator_left_behind",
        "w",
        lambda x: x["separation"] < 0.1 and _apart(x),
        lambda x: (
            f"it puts {x['separation']:.1%} of the pairs of real and generated rows in order "
            "(chance: 50%), so that it takes generated rows for the real ones"
        ),
    ),
    _growth("theta"),
    _growth("w"),
)


def find(records: Sequence[Mapping[str, Any]], num_batches: int) -> list[Finding]:
    """The findings of a run so far.

    Args:
      records: lines of metrics.jsonl, in their order; of any version.
      num_batches: of the whole run.
    """
    looks = looks_of(records)
    found = [f for rule in _RULES if (f := _held(rule, looks, num_batches))]
    found += [f for p in _NAMES for f in _fields(records, p)]
    return found


def of_run(workdir: Path, records: Sequence[Mapping[str, Any]], num_batches: int) -> list[Finding]:
    """`find`, and what the workdir's post-mortems say (`diverged`)."""
    return [*find(records, num_batches), *diverged(workdir)]


def of_look(look: Mapping[str, Any]) -> list[Finding]:
    """Of one look alone, which must hold `step`: of a checkpoint that was looked at later."""
    return [
        Finding(rule.name, rule.player, rule.say(_measures(look)), look["step"])
        for rule in _RULES
        if _ill(rule, look)
    ]


def looked(records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the monitor looked at the run at all."""
    return any(key.startswith(LOOK) for record in records for key in record)


def looks_of(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The records at which the monitor looked."""
    return [r for r in records if looked([r])]


def diverged(workdir: Path) -> list[Finding]:
    """Of post-mortems: a run that left the finite numbers, and was not rolled back or was."""
    found = []
    for path in sorted(workdir.glob("postmortem_*.json")):
        facts = json.loads(path.read_text())
        who = " and ".join(_NAMES[p] for p in facts["players"])
        text = f"the {who} left the finite numbers at mini-batch {facts['step']:,} ({path.name})"
        found.append(Finding("diverged", "", text, facts["step"]))
    return found


def entries(found: Sequence[Finding]) -> dict[str, float]:
    """What a record says of them: finding/NAME or finding/NAME/PLAYER is 1."""
    return {f.key: 1.0 for f in found}


def said(found: Sequence[Finding]) -> str:
    """Their names, for a line of progress; "" without any."""
    names: list[str] = [f.key.removeprefix(PREFIX) for f in found]
    return ", ".join(names)


def lines(found: Sequence[Finding]) -> list[str]:
    """Two lines each, for the end of a run."""
    text = []
    for f in found:
        text.append(f"finding      {f.key.removeprefix(PREFIX)}: {f.evidence} (since {f.since:,})")
        text.append(f"             usually helps: {f.helps}")
    return text


def _measures(look: Mapping[str, Any]) -> dict[str, float]:
    found = {k.removeprefix(LOOK): v for k, v in look.items() if k.startswith(LOOK)}
    return {"known": 1.0, **found}


def _ill(rule: _Rule, look: Mapping[str, Any]) -> bool:
    try:
        return rule.ill(_measures(look))
    except KeyError:  # this look could not measure it
        return False


def _held(rule: _Rule, looks: Sequence[Mapping[str, Any]], num_batches: int) -> Finding | None:
    counted = [x for x in looks if rule.early or x["step"] >= _GRACE * num_batches]
    run = []
    for look in reversed(counted):
        if not _ill(rule, look):
            break
        run.append(look)
    if len(run) < LOOKS:
        return None
    return Finding(rule.name, rule.player, rule.say(_measures(run[0])), run[-1]["step"])


# Of records: medians of the last tenth against the level of the run before it.
_EXPLODES, _VANISHES = 1e3, 1e-3
_FEWEST = 20


def _fields(records: Sequence[Mapping[str, Any]], player: str) -> list[Finding]:
    key, who = f"field_norm/{player}", _NAMES[player]
    known = [(r["step"], r[key]) for r in records if key in r]
    if len(known) < _FEWEST:
        return []
    recent = known[-max(5, len(known) // 10) :]
    now = statistics.median(v for _, v in recent)
    usual = statistics.median_high(v for _, v in known[: -len(recent)])
    if not math.isfinite(now) or not math.isfinite(usual) or usual <= 0:
        return []
    text = f"the {who}'s field is {now / usual:.2g} times as long as it was (median of the run)"
    if now > _EXPLODES * usual:
        return [Finding("exploding_field", player, text, recent[0][0])]
    if now < _VANISHES * usual:
        return [Finding("vanishing_field", player, text, recent[0][0])]
    return []


def read(workdir: Path) -> list[dict[str, Any]]:
    """The records of a workdir."""
    return [json.loads(line) for line in whole_lines(workdir / METRICS)]


def damage(workdir: Path) -> list[str]:
    """What of a workdir's records is not whole, in words without a full stop."""
    with contextlib.suppress(OSError):
        rest = (workdir / METRICS).read_bytes().rpartition(b"\n")[2]
        if rest:
            return [f"{METRICS} ends within a line, of {len(rest)} bytes: it was cut off there"]
    return []
