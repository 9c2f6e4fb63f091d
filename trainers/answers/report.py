"""The report of one run: everything that its workdir says, as one HTML file.

Of a finished run, one that is still trained, or one that stopped or diverged: what is not there yet
is said. It reads files alone, and loads no TensorFlow.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure as Drawing

from trainers.experiment import settings
from trainers.reports.html import Block, Code, Details, Figure, Section, Table, Text, page
from trainers.system.files import write_atomically
from trainers.workdir import findings, folder
from trainers.workdir.folder import ANSWERS, SAMPLES

__all__ = ["NAME", "render", "write"]

NAME = "report.html"
_PROVENANCE = "provenance.json"
_STEPS = 4  # pictures of the training that are shown, the last ones
# The curves: heading, the keys of metrics.jsonl (score/ANSWER/METRIC by its metric), log axis.
_CURVES = (
    ("Losses", ("loss/theta", "loss/w"), False),
    ("Norms of the fields", ("field_norm/theta", "field_norm/w"), True),
    ("Penalty", ("penalty/w",), False),
    ("Step sizes", ("step_size/theta", "step_size/w"), True),
    ("Temperatures", ("temperature/theta", "temperature/w"), True),
    ("Duality gap", ("duality_gap",), False),
)
_PLAYERS = {"theta": "generator", "w": "discriminator"}
_MEANING = {
    "last": "the last iterate",
    "ema": "the moving average of the generator's weights",
    "mixture": "snapshots of a window of the run, one of which draws each sample",
}


def write(workdir: Path, output: Path | None = None) -> Path:
    """Writes the report.

    Args:
      workdir: of trainers.run or of `MixedNashGAN.fit(workdir=)`.
      output: the file; by default report.html in the workdir.

    Returns:
      The file.

    Raises:
      InputError: if the folder is no workdir.
    """
    text = render(workdir)
    return write_atomically(
        output or workdir / NAME, lambda path: path.write_text(text, encoding="utf-8")
    )


def render(workdir: Path) -> str:
    """The text of the report; see `write`."""
    config = settings.load_workdir_config(workdir)
    card, records = folder.read_card(workdir), folder.records(workdir)
    title = f"{config['dataset']} by {config['algorithm']}, seed {config['seed']}"
    return page(
        title,
        list(_head(workdir, config, card, records)),
        [
            Section("Samples", list(_pictures(workdir))),
            Section("Scores", list(_scores(card))),
            Section("Health", list(_health(workdir, config, card, records))),
            Section("Curves", list(_curves(records))),
            Section("Configuration", list(_config(config))),
            Section("Where it comes from", list(_origin(workdir))),
            Section("Recoveries", list(_recoveries(workdir))),
        ],
    )


def _head(
    workdir: Path, config: Mapping[str, Any], card: Any, records: Sequence
) -> Iterator[Block]:
    step, total = (records[-1]["step"] if records else 0), config["num_batches"]
    state = "finished" if card else f"not finished: {step:,} of {total:,} mini-batches so far"
    facts = [
        ("state", state),
        ("length", f"{total:,} mini-batches of {config['batch_size']}"),
        ("objective", config["game"]["objective"]),
        ("networks", _networks(config)),
        ("published answer", f"{config['publish']}, {_meaning(config['publish'])}"),
        ("folder", str(workdir)),
    ]
    if records and "seconds" in records[-1]:
        facts.insert(2, ("time in steps", f"{records[-1]['seconds']:,.0f} s"))
    yield Table(["", ""], facts)


def _meaning(answer: str) -> str:
    half_life = answer.removeprefix("ema_")  # of a further average
    further = f"the moving average with a half-life of {half_life} samples"
    return _MEANING.get(answer, further)


def _networks(config: Mapping[str, Any]) -> str:
    counts = [config[player].get("num_particles", 1) for player in settings.PLAYERS]
    return ", ".join(
        f"{n} {player}{'s' if n > 1 else ''}"
        for n, player in zip(counts, settings.PLAYERS, strict=True)
    )


def _pictures(workdir: Path) -> Iterator[Block]:
    samples = workdir / SAMPLES
    for name, caption in (
        ("published.png", "The answers of the run at its end"),
        ("close.png", "One mode, enlarged, with its rings of 1 and 3 sigma"),
        ("classes.png", "Samples of each class, of the published answer"),
        ("interpolation.png", "Between two samples of one generator, row by row"),
        ("nearest.png", "Samples above the training data that are nearest to them"),
        ("film.gif", "The training: last iterate and mixture over the mini-batches"),
    ):
        if (samples / name).is_file():
            yield Figure(samples / name, caption)
    steps = sorted(samples.glob("step_*.png"))
    if steps:
        count = int(steps[-1].stem.removeprefix("step_"))
        yield Figure(steps[-1], f"The last iterate after {count:,} mini-batches")
    if earlier := steps[-1 - _STEPS : -1]:
        figures = [
            Figure(p, f"The last iterate after {int(p.stem.removeprefix('step_')):,} mini-batches")
            for p in earlier
        ]
        yield Details("Earlier", figures)
    for path in sorted(samples.glob("diverged_*.png")):
        yield Figure(path, f"Before it diverged at {int(path.stem.removeprefix('diverged_')):,}")


def _scores(card: Mapping[str, Any] | None) -> Iterator[Block]:
    if not card:
        yield Text("The run has not ended: there is no scorecard yet.")
        return
    rows = {**card["strategies"], "real data": card["real_data_ceiling"]}
    keys = [k for k, v in card["real_data_ceiling"].items() if _is_number(v)]
    keys += [
        k for k, v in card["strategies"][ANSWERS[0]].items() if _is_number(v) and k not in keys
    ]
    yield Table(
        ["score", *rows],
        [[key, *(_number(one.get(key)) for one in rows.values())] for key in keys],
        note="Read every score beside that of fresh real data: what can be reached at all.",
    )
    for name, one in card["strategies"].items():
        if atoms := one.get("atoms"):
            head = [k for k, v in atoms[0].items() if _is_number(v)]
            table = [[str(j), *(_number(a.get(k)) for k in head)] for j, a in enumerate(atoms)]
            yield Details(f"Each network of {name}", [Table(["network", *head], table)])
    if gap := card.get("duality_gap"):
        found = gap["strategies"]
        yield Table(
            ["answer", *next(iter(found.values()))],
            [[name, *(_number(v) for v in values.values())] for name, values in found.items()],
            caption="Duality gap",
            note=f"A lower bound, by {gap['num_steps']} steps of best response.",
        )


def _health(
    workdir: Path, config: Mapping[str, Any], card: Mapping[str, Any] | None, records: Sequence
) -> Iterator[Block]:
    """What the monitor found; nothing where it was off."""
    looks, known = findings.looks_of(records), (card or {}).get("health")
    if known is None and not looks:
        return
    if known is None:  # not finished
        found = [f.facts for f in findings.of_run(workdir, records, config["num_batches"])]
    else:
        found = [*known, *(f.facts for f in findings.diverged(workdir))]
    looked = "looks that are recorded no more."
    if looks:
        last = f"look{'s' if len(looks) > 1 else ''}, the last at mini-batch {looks[-1]['step']:,}"
        looked = f"{len(looks)} {last}; {findings.LOOKS} in a row must agree."
    if not found:
        yield Text(f"No finding in {looked}")
        return
    yield Table(
        ["finding", "evidence", "since mini-batch", "what usually helps"],
        [[_finding(f), f["evidence"], f"{f['since']:,}", f["helps"]] for f in found],
        note=f"In {looked}",
    )


def _finding(facts: Mapping[str, Any]) -> str:
    player = _PLAYERS.get(facts["player"])
    return facts["name"] + (f" ({player})" if player else "")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(value: Any) -> str:
    return f"{value:.6g}" if _is_number(value) and value == value else "-"


def _curves(records: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
    if len(records) < 2:
        yield Text("There are not yet two records to draw.")
        return
    known = {key for record in records for key in record}
    kinds = [*_CURVES, *_score_curves(records)]
    some = [(title, keys, log) for title, keys, log in kinds if known & {*keys}]
    picture = _draw(records, some)
    yield Figure(picture, f"Over the mini-batches: {', '.join(t.lower() for t, _, _ in some)}")


def _score_curves(records: Sequence[Mapping[str, Any]]) -> list[tuple[str, tuple[str, ...], bool]]:
    found: dict[str, list[str]] = {}
    for record in records:
        for key in record:
            if key.startswith("score/") and not key.endswith("/num_samples"):
                keys = found.setdefault(key.split("/")[2], [])
                keys += [] if key in keys else [key]
    return [(metric, tuple(sorted(keys)), False) for metric, keys in found.items()]


def _draw(records: Sequence[Mapping[str, Any]], curves: Sequence) -> bytes:
    rows = -(-len(curves) // 2)
    figure = Drawing((10.0, 2.8 * rows), 100, layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False).ravel()
    for ax, (title, keys, log) in zip(axes, curves, strict=False):
        for key in keys:
            points = [(r["step"], r[key]) for r in records if r.get(key) is not None]
            if points:
                ax.plot(*zip(*points, strict=True), label=_label(key), linewidth=1)
        positive = all(r.get(key, 1) > 0 for r in records for key in keys)
        ax.set(title=title, xlabel="mini-batches", yscale="log" if log and positive else "linear")
        ax.grid(visible=True, alpha=0.3)
        if len(keys) > 1:
            ax.legend(fontsize=8)
    for ax in axes[len(curves) :]:
        ax.axis("off")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    return drawn.getvalue()


def _label(key: str) -> str:
    head, _, tail = key.partition("/")
    return _PLAYERS.get(tail, tail.partition("/")[0] if head == "score" else key)


def _config(config: Mapping[str, Any]) -> Iterator[Block]:
    flat = settings.flatten(config)
    players = {f"{player}.{key}" for player in settings.PLAYERS for key in settings.HYPERPARAMETERS}
    yield Table(
        ["hyperparameter", *settings.PLAYERS],
        [
            [key, *(_value(config[player].get(key)) for player in settings.PLAYERS)]
            for key in settings.HYPERPARAMETERS
        ],
    )
    rest = [[key, _value(value)] for key, value in sorted(flat.items()) if key not in players]
    yield Details("All other keys", [Table(["key", "value"], rest)])


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _origin(workdir: Path) -> Iterator[Block]:
    try:
        facts = json.loads((workdir / _PROVENANCE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        yield Text("provenance.json is not there.")
        return
    code, hardware = facts.get("code", {}), facts.get("hardware", {})
    commit = str(code.get("commit")) + (", with changes" if code.get("dirty") else "")
    yield Table(
        ["", ""],
        [
            ("begun", str(facts.get("time"))),
            ("code", commit if code.get("commit") else f"version {code.get('version')}"),
            ("machine", ", ".join(f"{k} {v}" for k, v in hardware.items() if v)),
            ("versions", ", ".join(f"{k} {v}" for k, v in facts.get("versions", {}).items())),
            ("sessions", str(len(facts.get("sessions", [])))),
            ("compiled", str(facts.get("compile", {}).get("reason", "-"))),
        ],
    )
    yield Code(" ".join(map(str, facts.get("command", []))))
    for name, said in facts.get("user_files", {}).items():
        if isinstance(said, Mapping) and "text" in said:
            yield Details(name, [Code(str(said["text"]))])


def _recoveries(workdir: Path) -> Iterator[Block]:
    path = workdir / "recoveries.json"
    if not path.is_file():
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    if found:
        head = list(found[0])
        yield Table(head, [[_value(one.get(k)) for k in head] for one in found])
