"""Tables of the committed records, as Markdown: what `<!-- rendered: NAME -->` stands for."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks import (
    ablation,
    capacity_game,
    mixtures_study,
    modern_study,
    particles_study,
    pools,
    sampled,
    scheme_study,
    studies,
    tuned_study,
    unbalanced_study,
)
from benchmarks.pages.code import ROOT
from benchmarks.studies import markdown
from trainers.campaigns.cells import over
from trainers.campaigns.study.claims import in_time, questions
from trainers.campaigns.study.protocol import ALGORITHMS, PROTOCOLS
from trainers.campaigns.study.tables import METRICS, Stage, show
from trainers.system import names

__all__ = ["REGIONS", "line_of", "lost", "particles", "seeds", "speed", "turns", "ways"]

_PROTOCOL = PROTOCOLS["narrow"]
_SHOWN = ("law_distance", "high_quality_3sigma", "std_ratio", "principal_std_log", "reverse_kl")
# The paper's; a report has the others, too.
_EIGHT = _PROTOCOL.algorithms[:8]
_MIRRORS = ("mirror_gan", "mirror_prox_gan")
_COMMAND = "python -m trainers.reproduce all --protocol=narrow"


@functools.cache
def _stage(data: str, stage: str) -> Stage:
    return Stage(studies.paper_study(), _PROTOCOL, data, stage)


@functools.cache
def _summaries(data: str, stage: str, answer: str) -> Mapping[str, Mapping[str, Any]]:
    return _stage(data, stage).summaries(answer)


def line_of(data: str, stage: str, answer: str, name: str) -> tuple[list[str], list[str]]:
    """(headings, cells) of an algorithm's answer in a stage of the study; name "": real data."""
    metrics = {key: METRICS[key] for key in _SHOWN}
    head = [f"{m.title} ({m.wish})" for m in metrics.values()]
    if not name:
        real = _stage(data, stage).real
        return head, [show(over([real.get(k)]), m) for k, m in metrics.items()]
    row = _summaries(data, stage, answer)[name]
    return head, [show(row[k], m) for k, m in metrics.items()]


def lost(data: str, stage: str, name: str) -> str:
    """ " (1 of 5 diverged)" of an algorithm's runs, of which no mean knows; "" if none did."""
    one = _stage(data, stage)
    runs, done = one.runs(name), one.done(name)
    return f" ({len(runs) - len(done)} of {len(runs)} diverged)" if len(done) < len(runs) else ""


def _mixtures(data: str, stage: str) -> str:
    """Of those of the eight that have a run which did not diverge."""
    head, rows = ["algorithm"], []
    for name in (n for n in _EIGHT if n in _summaries(data, stage, "mixture")):
        titles, cells = line_of(data, stage, "mixture", name)
        head = ["algorithm", *titles]
        title = ALGORITHMS[name].title
        title = f"**{title}**" if name in _MIRRORS else title
        rows.append([title + lost(data, stage, name), *cells])
    if not rows:
        return f"Not run yet: `{_COMMAND} --datasets={data} --stages={stage}`."
    rows.append(["real data", *line_of(data, stage, "mixture", "")[1]])
    return markdown(head, rows)


_TITLES = {"gaussians8": "8 Gaussians", "gaussians25": "25 Gaussians", "swissroll": "Swiss Roll"}


def _of_all_data() -> str:
    """Law distance and HQ of every algorithm's mixtures: each data set, then large mini-batches."""
    keys = ("law_distance", "high_quality_3sigma")
    large = [(d, "large", f"{_TITLES[d]}, 256") for d in _PROTOCOL.large_datasets]
    sets = [*((d, "final", title) for d, title in _TITLES.items()), *large]
    head = ["mixtures of", *(f"{title}: {METRICS[k].title}" for *_, title in sets for k in keys)]
    rows = []
    for name in _PROTOCOL.algorithms:
        title = ALGORITHMS[name].title
        cells = []
        for data, stage, _ in sets:
            known = _summaries(data, stage, "mixture")
            row = known.get(name)
            cells += [show(row[k], METRICS[k]) if row else "-" for k in keys]
            cells[-2] += lost(data, stage, name)
        rows.append([f"**{title}**" if name in _MIRRORS else title, *cells])
    real = [_stage(data, stage).real for data, stage, _ in sets]
    rows.append(["real data", *(show(over([r.get(k)]), METRICS[k]) for r in real for k in keys)])
    return markdown(head, rows)


def speed() -> str:
    """Milliseconds a mini-batch of every algorithm, from the records of benchmarks.step."""
    found = {}
    for batch in (64, 256):
        text = (ROOT / f"docs/results/step_all_{batch}.json").read_text()
        for one in json.loads(text)["results"]:
            if one["algorithm"] in names.algorithms():
                found.setdefault(one["algorithm"], {})[batch] = one["ms"]["median"]
    known = names.algorithms()
    rows = [
        [known[name][0], *(f"{found[name][b]:.1f}" if b in found[name] else "-" for b in (64, 256))]
        for name in known
        if name in found
    ]
    return markdown(["algorithm", "batch 64, ms a mini-batch", "batch 256"], rows)


def particles() -> str:
    """What several generators give beside one, of the records of benchmarks.particles_study."""
    runs = _runs(particles_study.STUDY)

    keys = ("high_quality_3sigma", "std_ratio", "principal_std_log", "reverse_kl", "law_distance")

    def said(name: str) -> str:
        cards = [one["answers"]["mixture"] for one in runs[name].values()]
        fewest = min(c["modes_captured"] for c in cards)
        numbers = (
            f"{METRICS[key].title} {show(over([c.get(key) for c in cards]), METRICS[key])}"
            for key in keys
        )
        count = f"{len(cards)} seed{'s' * (len(cards) > 1)}"
        return f"{fewest:g} of {cards[0]['num_modes']:g} modes, {', '.join(numbers)} ({count})"

    return (
        f"**25 generators on the 25 Gaussians** (`gaussians25_mp`): {said('modes_25_25')}. **Eight "
        f"on the 8 Gaussians** (`make run`): {said('make_run_8')}; one with as many parameters and "
        f"the same settings (but snapshots after 0.87 of the run): {said('make_run_1')}."
    )


def seeds(name: str) -> str:
    """The published mixture of every seed of a setting of benchmarks.particles_study.

    Args:
      name: of the setting.
    """
    keys = ("high_quality_3sigma", "std_ratio", "principal_std_log", "reverse_kl", "law_distance")
    keys += ("bridge_mass", "radius_ks")
    found = _runs(particles_study.STUDY)[name]
    answers = {seed: found[seed]["answers"] for seed in sorted(found, key=int)}
    cards = {seed: own["mixture"] for seed, own in answers.items()}
    cards["real data"] = next(iter(found.values()))["real"]
    rows = [
        [seed, f"{c['modes_captured']:g}", *(show(over([c[k]]), METRICS[k]) for k in keys)]
        for seed, c in cards.items()
    ]
    head = ["seed", "modes", *(METRICS[k].title for k in keys)]
    # Records of before 28 November 2026 have no widths mode by mode.
    if all("by_mode" in card for own in answers.values() for card in own.values()):
        head += ["widths of its modes", "of the last iterate's"]
        lasts = [_widths(own["last"]) for own in answers.values()]
        for row, card, last in zip(rows, cards.values(), [*lasts, "-"], strict=True):
            row += [_widths(card), last]
    return markdown(head, rows)


def _widths(card: Mapping[str, Any]) -> str:
    by_mode = card["by_mode"]
    return f"{min(by_mode['narrowest']):.2f} to {max(by_mode['widest']):.2f}"


def _spread(ms: Mapping[str, float], digits: int) -> str:
    low, high = (f"{ms[f'quartile_{q}']:.{digits}f}" for q in (1, 3))
    return f"{ms['median']:.{digits}f} ({low}-{high})"


def turns(name: str) -> str:
    """A table of benchmarks.turns, from its file.

    Args:
      name: of the file in docs/results, without its ending.
    """
    report = json.loads((ROOT / f"docs/results/{name}.json").read_text())
    rows = []
    for one in report["results"]:
        if "failed" in one:
            who, reason = one["label"].replace("xla=--xla_gpu_", ""), one["failed"].split("  [")[0]
            rows.append([who.replace(",", ", "), f"left out: {reason}", "", ""])
            continue
        who = one["label"].split(" ")[0].replace("xla=--xla_gpu_", "").replace(",", ", ")
        facts = f"{one['algorithm']}, {one['batch_size']}, {one['precision']}"
        rows.append([who, facts, _spread(one["ms"], 3), f"{one['first_steps']:.0f}"])
    head = ["who", "algorithm, batch, precision", "ms a mini-batch", "seconds to the first steps"]
    return markdown(head, rows)


def ways(*names: str) -> str:
    """A table of benchmarks.compile: how `whole` compares with `parts`, from its files.

    Args:
      names: of the files in docs/results, without their endings.
    """
    rows = []
    for name in names:
        report = json.loads((ROOT / f"docs/results/{name}.json").read_text())
        beside = f", beside {report['beside']} busy process" if report["beside"] else ""
        for parts, whole in zip(report["results"][::2], report["results"][1::2], strict=True):
            what = f"`{parts['config']}`" if "config" in parts else _perceptrons(parts)
            times = [_spread(one["ms"], 2) for one in (parts, whole)]
            first = [f"{one['first']:.0f}" for one in (parts, whole)]
            rows.append([what + beside, *times, _spread(whole["ratio"], 2), ", ".join(first)])
    head = ["what", "parts, ms", "whole, ms", "whole / parts", "CPU seconds to the first steps"]
    return markdown(head, rows)


def _perceptrons(one: Mapping[str, Any]) -> str:
    return f"`{one['algorithm']}`, 3 x {one['width']}, batch {one['batch_size']}"


def _penalties(network: str) -> str:
    """What a mini-batch is made of and takes, by its penalties: benchmarks.kernels and turns."""
    counted, timed = (
        json.loads((ROOT / f"docs/results/{of}_penalties_{network}.json").read_text())["results"]
        for of in ("kernels", "turns_cpu")
    )
    times = {_penalties_of(one["label"].split(" ")[0]): one for one in timed}
    rows = []
    for one in counted:
        who = _penalties_of(one["set"])
        time = times.get(who)
        cells = [_spread(time["ms"], 1), f"{time['ratio']:.3f}"] if time else ["-", "-"]
        rows.append([who, _work(one), *cells])
    head = ["penalties", "kernels (products)", "ms a mini-batch", "ratio to `gradient_penalty`"]
    return markdown(head, rows)


def _penalties_of(items: str) -> str:
    """Which of KEY=VALUE,... is a penalty that is on."""
    keys = dict(item.split("=", 1) for item in items.split(",") if "=" in item)
    penalties = ("gradient_penalty", "r1", "r2")
    on = [f"`{name}`" for name in penalties if float(keys.get(f"game.{name}", 0))]
    return " and ".join(on) or "none"


def _work(one: Mapping[str, Any]) -> str:
    """Kernels of a row of benchmarks.kernels, and in brackets those that are products."""
    inner = " *" if one["whiles"] else ""
    return f"{one['kernels']:g} ({one['dots'] + one['convolutions']:g}){inner}"


def _kernels() -> str:
    """Kernels of a mini-batch, by algorithm and network, as benchmarks.kernels counted them."""
    record = json.loads((ROOT / "docs/results/kernels.json").read_text())["results"]
    models = list(dict.fromkeys(one["model"] for one in record))
    rows: dict[str, list[str]] = {}
    for one in record:
        rows.setdefault(one["algorithm"], []).append(_work(one))
    return markdown(["algorithm", *models], [[f"`{a}`", *cells] for a, cells in rows.items()])


def _runs(study: studies.Study) -> dict[str, Any]:
    return studies.runs_of(study.records)


def _algorithms(prefix: str = "") -> str:
    """Name, title and source of the registry, a link to each page."""
    rows = [
        [f"[{title}]({prefix}algorithms/{name}.md)", f"`{name}`", source]
        for name, (title, source) in names.algorithms().items()
    ]
    return markdown(["algorithm", "`--config.algorithm=`", "source"], rows)


def _capacity(name: str) -> str:
    return capacity_game.tables()[name]


def _particles_stage(stage: str) -> str:
    return studies.table(particles_study.STUDY, stage, _runs(particles_study.STUDY))


def _keys() -> str:
    from trainers.system.discovery import KEYS, defaults

    rows = [[f"`{key}`", defaults()[key], meaning] for key, meaning in KEYS.items()]
    return markdown(["key", "default", "what it is"], rows)


def _in_time() -> str:
    """Of how many algorithms the mixture is nearer than one network, of both stages."""
    records, rows, head = studies.paper_study(), [], ()
    for stage, more in (("final", ""), ("large", ", batch 256 x 50,000")):
        if table := in_time(questions(records, _PROTOCOL, stage), stage):
            head = table.head
            rows += [(row[0] + more, *row[1:]) for row in table.rows]
    return markdown(head, rows)


def _diagnoses() -> str:
    from benchmarks import diagnoses

    found = json.loads((ROOT / "docs/results/diagnoses.json").read_text())
    return diagnoses.table(found, diagnoses.cases("there"))


def _judge() -> str:
    # Here, because it loads TensorFlow.
    from benchmarks import judge

    found = json.loads((ROOT / "docs/results/judge.json").read_text())
    return judge.table([judge.Row(**one) for one in found]).rstrip()


def _reached(stage: str) -> str:
    return particles_study.reached(stage, _runs(particles_study.STUDY))


def _compared(stage: str) -> str:
    return particles_study.compared(_runs(particles_study.STUDY), stage)


def _modern(stage: str) -> str:
    return modern_study.tables(_runs(modern_study.STUDY), stage)


def _sampled(stage: str) -> str:
    runs = studies.runs_of(sampled.study({}).records)
    return studies.table(sampled.study(runs), stage, runs)


def _scheme(stage: str) -> str:
    study = scheme_study.study(studies.paper_study())
    return studies.table(study, stage, _runs(study))


def _unbalanced() -> str:
    study = unbalanced_study.study(studies.paper_study())
    runs = _runs(study)
    table = studies.table(study, unbalanced_study.STAGE, runs)
    return f"{table}\n\n{unbalanced_study.tables(runs)}"


# What may stand between the marks.
REGIONS: Mapping[str, Callable[[], str]] = {
    "algorithms": lambda: _algorithms("docs/"),
    **{f"study {data}": functools.partial(_mixtures, data, "final") for data in _PROTOCOL.datasets},
    "study of all data": _of_all_data,
    "study gaussians25 large": lambda: _mixtures("gaussians25", "large"),
    "particles": particles,
    **{
        f"particles, {stage}": functools.partial(_particles_stage, stage)
        for stage in (
            "make_run",
            "window",
            "modes_25",
            "widths_25",
            "widths",
            "eight",
            "unbalanced",
            "roll",
            "fashion",
            "default",
            "ring",
            "seconds",
            "controls",
            "grid",
        )
    },
    "speed of all": speed,
    "particles, compared": lambda: particles_study.compared(_runs(particles_study.STUDY)),
    **{
        f"particles, {stage} compared": functools.partial(_compared, stage)
        for stage in ("window", "modes_25", "widths", "widths_25", "unbalanced", "roll", "fashion")
    },
    **{
        f"particles, {stage} by seed": functools.partial(_reached, stage)
        for stage in ("make_run", "widths", "eight", "widths_25")
    },
    **{f"modern, {stage}": functools.partial(_modern, stage) for stage in modern_study.STAGES},
    "mixtures, weighed": lambda: mixtures_study.weighed(_runs(mixtures_study.STUDY)),
    "mixtures by window": lambda: mixtures_study.windows(_runs(mixtures_study.STUDY)),
    "the gap on the way": lambda: mixtures_study.monitored(_runs(mixtures_study.STUDY)),
    "seeds of make_run": lambda: seeds("make_run_8"),
    "seeds of modes_25": lambda: seeds("modes_25_25"),
    "seeds of modes_25, by turns": lambda: seeds("modes_25_md"),
    "turns, MLP beside JAX": lambda: turns("turns_h100_all_3"),
    "turns, what the MLP gains": lambda: turns("turns_h100_mlp_3"),
    "turns, DCGAN 64": lambda: turns("turns_h100_dcgan64_3"),
    "turns, DCGAN 64, 256 rows": lambda: turns("turns_h100_dcgan64_256"),
    "turns, threads": lambda: turns("turns_cpu_threads"),
    "turns, threads, configs": lambda: turns("turns_cpu_configs"),
    "turns peers": lambda: turns("turns_h100_peers"),
    "turns flags": lambda: turns("turns_h100_flags"),
    "turns flags, later": lambda: turns("turns_h100_flags_2"),
    "turns dcgan64, later": lambda: turns("turns_h100_dcgan64_2"),
    "ways on CPUs": lambda: ways("compile_xeon_configs", "compile_xeon_beside", "compile_xeon"),
    "penalties, MLP": lambda: _penalties("mlp"),
    "penalties, DCGAN 32": lambda: _penalties("dcgan32"),
    "kernels of all": _kernels,
    "turns dcgan64, peers": lambda: turns("turns_h100_dcgan64_peers"),
    **{
        f"sampled, {stage}": functools.partial(_sampled, stage)
        for stage in (*sampled.STAGES, "best")
    },
    "ablation": lambda: ablation.tables(_runs(ablation.STUDY)),
    "ablation, window": lambda: ablation.tables(_runs(ablation.STUDY), "window"),
    "study, in time": _in_time,
    "judge": _judge,
    "diagnoses": _diagnoses,
    "pools": lambda: pools.table(json.loads((ROOT / pools.RECORDS).read_text())),
    "tuned": lambda: tuned_study.tables(studies.runs_of(tuned_study.RECORDS)),
    "unbalanced": _unbalanced,
    **{f"scheme, {stage}": functools.partial(_scheme, stage) for stage in ("noise", "scheme")},
    "scheme, compared": lambda: scheme_study.tables(studies.runs_of(scheme_study.RECORDS)),
    **{
        f"capacity game, {name}": functools.partial(_capacity, name)
        for name in ("least", "short", "numbers", "claims", "comparisons")
    },
    "keys": _keys,
}
