"""The controls of noise and scheme: what they pin, and which side of a comparison is whose."""

import statistics

import pytest

from benchmarks import scheme_study, studies
from trainers.campaigns.study.protocol import PROTOCOLS, choose
from trainers.campaigns.study.tables import Stage, values_of
from trainers.experiment import settings
from trainers.system import cli

NARROW = PROTOCOLS["narrow"]


@pytest.fixture(scope="module")
def records():
    return studies.paper_study()


@pytest.fixture(scope="module")
def stages(records):
    return scheme_study.study(records).stages


def player(setting):
    config = cli.load_config(setting.config)
    settings.override(config, setting.items)
    resolved = settings.resolve(config)
    assert resolved["model"]["hidden_units"] == [64, 64, 64]
    assert (resolved["dataset"], resolved["num_batches"]) == ("gaussians25", NARROW.batches)
    return resolved["algorithm"], resolved["generator"]


def test_without_noise_all_else_is_what_the_sweep_chose(records, stages):
    assert len(stages["noise"]) == len(scheme_study.LANGEVIN) == 5
    for setting, name in zip(stages["noise"], scheme_study.LANGEVIN, strict=True):
        algorithm, own = player(setting)
        best = choose(NARROW, "gaussians25", name, records).best.candidate
        assert (algorithm, own["temperature"]) == (name, 0.0)
        assert own["step_size"] == best.step_size
        chosen = {k: v for k, v in dict(best.more).items() if k not in ("temperature",)}
        for key, value in chosen.items():
            if not isinstance(value, str):
                assert own[key] == value, (name, key)


def test_rmsprop_by_another_scheme(records, stages):
    best = choose(NARROW, "gaussians25", "rmsprop", records).best.candidate
    assert [s.name for s in stages["scheme"]] == [
        f"scheme_{n}" for n in scheme_study.LANGEVIN if n != "mirror_gan"
    ]
    for setting in stages["scheme"]:
        algorithm, own = player(setting)
        assert setting.name == f"scheme_{algorithm}"
        assert own["step_size"] == best.step_size
        assert (own["temperature"], own["damping"], own["prior_std"]) == (0.0, 1.0, 0.0)
        assert (own["stability"], own["rms_correction"]) == (1e-8, False)


def made(setting, value):
    return {
        setting.name: {
            str(seed): {"answers": {"mixture": {"law_distance": value + 0.001 * seed}}}
            for seed in range(5)
        }
    }


def test_sides(records, stages):
    """A gain above 0: the noise helps, the scheme helps."""
    far, near = made(stages["noise"][0], 9.0), made(stages["noise"][1], 0.0)
    (helps, harms) = scheme_study.compared({**far, **near}, records, "noise", "law_distance")
    assert (helps[0], helps[1].outcome) == ("Mirror-GAN: its noise against none", "better")
    assert (harms[1].outcome, harms[1].test) == ("worse", "paired t")
    (one,) = scheme_study.compared(
        made(stages["scheme"][0], 0.0), records, "scheme", "law_distance"
    )
    assert one[0] == "RMSProp moved as Mirror-Prox-GAN, against RMSProp"
    assert one[1].outcome == "better"
    final = Stage(records, NARROW, "gaussians25", "final")
    theirs = values_of(final.runs("rmsprop"), "mixture", "law_distance").values()
    assert one[1].gain == pytest.approx(statistics.fmean(theirs) - 0.002)
    theirs = values_of(final.runs("mirror_gan"), "mixture", "law_distance").values()
    assert helps[1].gain == pytest.approx(9.002 - statistics.fmean(theirs))
    assert scheme_study.compared({}, records, "noise", "law_distance") == []
    assert scheme_study.tables({}) == ""
