"""What the modern study compares, by records made by hand."""

import pytest

from benchmarks import modern_study


def made(**modes):
    """Records of Stacked MNIST: a setting's name -> the modes of its seeds."""
    real = {"modes_captured": 1000.0, "reverse_kl": 0.02, "fid": 0.04, "recall": 0.9}

    def record(one):
        last = {"modes_captured": one, "reverse_kl": one / 1e3, "fid": 9.0, "recall": 0.5}
        answers = {"last": last, "ema": real, "mixture": real}
        return {"answers": answers, "real": real, "config": {"num_batches": 10}, "seconds": 1.0}

    return {
        f"stacked_{name}": {str(seed): record(one) for seed, one in enumerate(each)}
        for name, each in modes.items()
    }


def test_runs_of_one_architecture_are_pairs_and_others_are_not():
    """Seeds differ by hundreds, each by five more than its pair: a paired test alone sees it."""
    runs = made(
        rmsprop=(100, 500, 900),
        rmsprop_same=(105, 505, 905.1),
        mirror_prox_gan=(100, 500, 900),
        particles=(105, 505, 905.1),
    )
    found = dict(modern_study.compared(runs, "stacked", "modes_captured"))
    paired, welch = found.values()
    assert list(found) == [
        "RMSProp with the Mirrors' step size and lambda, against RMSProp",
        "four generators, against one of the width of each",
    ]
    assert (paired.outcome, paired.test) == ("better", "paired t")
    assert (welch.outcome, welch.test) == ("undecided", "Welch")
    assert paired.gain == welch.gain == pytest.approx(15.1 / 3)
    less = dict(modern_study.compared(runs, "stacked", "reverse_kl"))
    assert [e.gain < 0 for e in less.values()] == [True, True], "the smaller the better"


def test_a_table_has_what_is_compared_and_what_others_published():
    runs = made(particles=(900, 910), one=(950, 990))
    page = modern_study.tables(runs, "stacked")
    assert (
        "| four generators, against one of as many parameters | modes | undecided | -65.0" in page
    )
    assert page.endswith("50 epochs of 128,000 stacks |")
    assert "| R3GAN | 1000 | 0.029 |" in page
    quarter = modern_study.tables({}, "quarter")
    assert "last iterates" not in quarter
    assert "| PacDCGAN4 | 667 | 1.81 |" in quarter


def test_every_pair_is_of_settings_of_its_stage():
    for stage, pairs in modern_study._COMPARED.items():
        names = {s.name for s in modern_study.STAGES[stage]}
        for one, two, _ in pairs:
            assert {f"{stage}_{one}", f"{stage}_{two}"} <= names
