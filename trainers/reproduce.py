"""Redoes the paper's study with numbers: runs what is missing, renders a report.

    python -m trainers.reproduce all --jobs=2 --together=10 --compile=whole
    python -m trainers.reproduce figure1 --budget=100        stops after 100 minutes; goes on later
    python -m trainers.reproduce all --dry_run               the runs to come, and what they cost
    python -m trainers.reproduce all --report_only           renders what there is
    python -m trainers.reproduce all --protocol=judged       networks of the paper's size, for a GPU
    python -m trainers.reproduce all --protocol=short        an hour; ranks nothing
    python -m trainers.reproduce all --datasets=swissroll --stages=sweep      one machine's part
    python -m trainers.reproduce figure1 --stages=large --jobs=8              on a GPU

figure1: the 25 Gaussians, with large mini-batches too. figure6: the 8 and the 25 Gaussians and the
Swiss Roll, quality against mini-batches and seconds. figure2: the report alone; its LSUN bedrooms
need LSUN (docs/reproduction.md). Each finished run is one small file in RESULTS, which are
committed: a study goes on in other sessions and on other machines. RESULTS/report.html and
RESULTS/README.md are made from them alone. docs/reproduction.md has the protocol.
Exit codes: 0 done or budget spent, 1 some runs failed, 2 bad input, 143 and 130 stopped by SIGTERM
and SIGINT.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from tf_mixed_nash.errors import InputError, unknown
from trainers.campaigns.study.protocol import FIGURES, PROTOCOLS, STAGES, missing, ready
from trainers.campaigns.study.records import load
from trainers.campaigns.study.runs import Options, command, estimate, run_study
from trainers.experiment.settings import COMPILE
from trainers.system import cli

__all__ = ["main"]

_FIGURES = (*FIGURES, "figure2")


def main() -> int:
    """The command."""
    f = flags.FLAGS
    options = _options(f)
    if f.dry_run:
        print(_forecast(options))
        return cli.DONE
    code = cli.DONE
    if not f.report_only and f.figure != "figure2":
        code = run_study(options)
        if code in (cli.STOPPED, cli.INTERRUPTED):
            print("Stopped; the same command goes on where this one was.")
            return code
    # Here, because it loads matplotlib.
    from trainers.campaigns.study.report import render

    written = render(options.protocol, options.results)
    records = load(options.results)
    left = len(options.of_this_session(missing(options.protocol, options.figure, records)))
    share = " of this share" if options.datasets or options.stages else ""
    print(f"{left} runs{share} are missing yet" if left else f"no run{share} is missing")
    for path in written:
        print(path)
    return code


def _options(f) -> Options:
    if f.figure not in _FIGURES:
        raise unknown("figure", f.figure, _FIGURES)
    if f.protocol not in PROTOCOLS:
        raise unknown("protocol", f.protocol, PROTOCOLS)
    if f.budget is not None and f.budget <= 0:
        raise InputError(f"--budget must be minutes above 0, got {f.budget}.")
    if f.compile not in COMPILE:
        raise unknown("--compile", f.compile, COMPILE)
    return Options(
        figure="all" if f.figure == "figure2" else f.figure,
        protocol=PROTOCOLS[f.protocol],
        runs=Path(f.runs),
        results=Path(f.results or f"docs/results/study_{f.protocol}"),
        jobs=f.jobs,
        threads=f.threads,
        budget=f.budget,
        keep_workdirs=f.keep_workdirs,
        datasets=_some("datasets", f.datasets, PROTOCOLS[f.protocol].datasets),
        stages=_some("stages", f.stages, STAGES),
        compile=f.compile,
        together=f.together,
    )


def _some(flag: str, given: Sequence[str], valid: Sequence[str]) -> tuple[str, ...]:
    for name in given:
        if name not in valid:
            raise unknown(f"--{flag}", name, valid, of="some of")
    return tuple(given)


def _forecast(options: Options) -> str:
    """The runs to come in their order, and what they cost."""
    records = load(options.results)
    todo = options.of_this_session(missing(options.protocol, options.figure, records))
    lines = [f"{i:4}  {run.title}" for i, run in enumerate(todo, 1)]
    cost = estimate(options, records)
    lines.append("")
    for (data, stage), (count, hours) in cost.by_stage.items():
        lines.append(f"{data:<12} {stage:<6} {count:4} runs  {hours:5.1f} h")
    lines.append(
        f"{cost.runs} runs, {cost.hours:.1f} hours with {options.jobs} side by side; costs from "
        f"{cost.basis}."
    )
    if first := options.of_this_session(ready(options.protocol, options.figure, records))[:1]:
        text = shlex.join(command(first[0], Path("WORKDIR"), options.compile))
        lines.append(f"The first: {text}")
    return "\n".join(lines)


def _with_flag(argv: Sequence[str]) -> list[str]:
    """The first word as --figure, so that it can be given without."""
    rest = list(argv[1:])
    if rest and not rest[0].startswith("-"):
        rest[0] = f"--figure={rest[0]}"
    return [argv[0], *rest]


if __name__ == "__main__":
    flags.DEFINE_string("figure", "", f"The first word: {', '.join(_FIGURES)}.")
    flags.DEFINE_string("runs", "runs/study", "Where the workdirs go.")
    flags.DEFINE_string(
        "results", None, "Where records and report go; docs/results/study_PROTOCOL by default."
    )
    flags.DEFINE_string("protocol", "narrow", f"How much: {', '.join(PROTOCOLS)}.")
    flags.DEFINE_integer("jobs", 2, "Runs side by side.", lower_bound=1)
    flags.DEFINE_integer("threads", 1, "Threads of each run.", lower_bound=1)
    flags.DEFINE_integer(
        "together",
        0,
        "Runs of one program, alike but for seeds, step sizes and temperatures; 0: 16 on a GPU, "
        "1 on CPUs (docs/many.md).",
        lower_bound=0,
    )
    flags.DEFINE_list("datasets", [], "The session's share: runs of these data sets; none: all.")
    flags.DEFINE_list("stages", [], f"The session's share: of {', '.join(STAGES)}; none: all.")
    flags.DEFINE_string("compile", "auto", f"How steps are compiled: {', '.join(COMPILE)}.")
    flags.DEFINE_float("budget", None, "Minutes after which the session stops; none: no limit.")
    flags.DEFINE_bool("report_only", False, "Render what there is; run nothing.")
    flags.DEFINE_bool("dry_run", False, "Print the runs to come and what they cost, and stop.")
    flags.DEFINE_bool("keep_workdirs", False, "Keep checkpoints and models of finished runs.")
    cli.main(main, _with_flag(sys.argv))
