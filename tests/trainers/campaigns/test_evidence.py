"""Evidence of seeds against SciPy's own tests, and against values by hand."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from trainers.campaigns.evidence import Evidence, effect_size, gains, holm, judged, weigh

A = {0: 0.10, 1: 0.12, 2: 0.11, 3: 0.15, 4: 0.09}
B = {0: 0.13, 1: 0.14, 2: 0.15, 3: 0.16, 4: 0.13}


def low(x):
    return x


def near_one(x):
    return abs(x - 1.0)


def test_seeds_that_share_draws_are_paired():
    found = weigh(A, B, low)
    one, two = (np.array(list(side.values())) for side in (A, B))
    theirs = stats.ttest_rel(two, one)
    assert found.gain == pytest.approx(0.028)
    assert found.p == pytest.approx(theirs.pvalue)
    assert found.interval == pytest.approx(tuple(theirs.confidence_interval(0.95)))
    # By hand: differences 0.03, 0.02, 0.04, 0.01, 0.04; s.d. 0.01304.
    assert found.effect == pytest.approx(0.028 / 0.0130384, rel=1e-4)
    assert (found.test, found.pairs) == ("paired t", 5)
    # Of the common seeds alone, in the order of the seeds.
    assert weigh({**A, 9: 50.0}, dict(reversed(B.items())), low).p == pytest.approx(found.p)


def test_seeds_that_do_not_are_welchs():
    found = weigh(A, {s + 10: x for s, x in B.items()}, low)
    theirs = stats.ttest_ind(list(B.values()), list(A.values()), equal_var=False)
    assert found.p == pytest.approx(theirs.pvalue)
    assert found.test == weigh(A, B, low, paired=False).test == "Welch"
    pooled = math.sqrt((np.var(list(A.values()), ddof=1) + np.var(list(B.values()), ddof=1)) / 2)
    assert found.effect == pytest.approx(0.028 / pooled)
    assert effect_size(np.ones(2), np.ones(2), paired=False) != 0  # NaN: no spread


def test_errors_of_two_signs_do_not_cancel():
    """A mean of 1 from 0.5 and 1.5 is no ratio of 1."""
    spread = {0: 0.5, 1: 1.5, 2: 0.6, 3: 1.4}
    right = {0: 0.9, 1: 0.9, 2: 0.91, 3: 0.89}
    (found,) = judged([weigh(right, spread, near_one)])
    assert found.outcome == "better"
    assert found.gain == pytest.approx(0.45 - 0.1)


def test_three_seeds_two_standard_errors_apart_decide_nothing():
    """The rule before: p of about 0.15."""
    one = {0: 0.9, 1: 1.0, 2: 1.1}
    two = {10: 1.07, 11: 1.17, 12: 1.27}
    (found,) = judged([weigh(one, two, low)])
    assert found.outcome == "undecided"
    assert 0.09 < found.p < 0.16


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, math.nan, 0.005])[:3] == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.01, 0.04, 0.03, math.nan, 0.005])[4] == pytest.approx(0.02)
    assert math.isnan(holm([0.01, math.nan])[1])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_family_is_judged_together():
    alone = weigh(A, B, low)
    assert judged([alone])[0].outcome == "better"
    assert judged([weigh(B, A, low)])[0].outcome == "worse"
    number = math.ceil(0.05 / alone.p)
    family = judged([alone, *[alone] * number])
    assert {e.outcome for e in family} == {"undecided"}
    assert judged([Evidence("no data", math.nan)])[0].outcome == "no data"


def test_not_worse_needs_a_margin_that_is_excluded():
    noisy = {s: x + d for (s, x), d in zip(A.items(), (0.02, -0.02, 0.02, -0.02, 0.0), strict=True)}
    found = weigh(noisy, A, low, margin=0.03)
    differences = np.array([A[s] - noisy[s] for s in A])
    assert found.p == pytest.approx(
        stats.ttest_1samp(differences, -0.03, alternative="greater").pvalue
    )
    assert judged([found], 0.03)[0].outcome == "better"
    # No difference is seen, and yet nothing is shown within a margin that is as small.
    assert judged([weigh(noisy, A, low, margin=0.005)], 0.005)[0].outcome == "undecided"
    assert judged([weigh(B, A, low, margin=0.005)], 0.005)[0].outcome == "worse"
    assert judged([weigh(B, A, low, margin=0.02)], [0.02])[0].outcome == "undecided"


def test_runs_without_a_spread_are_taken_as_they_are():
    equal = {0: 1.0, 1: 1.0}
    more = {0: 2.0, 1: 2.0}
    assert judged([weigh(equal, equal, low)])[0].outcome == "undecided"
    assert judged([weigh(equal, more, low)])[0].outcome == "better"
    assert judged([weigh(equal, equal, low, margin=0.1)], 0.1)[0].outcome == "better"
    assert judged([weigh(more, equal, low, margin=0.1)], 0.1)[0].outcome == "worse"
    assert weigh({0: 1.0}, more, low).outcome == "one seed"
    assert weigh({}, more, low).outcome == "no data"


def test_by_how_much_is_said():
    text = gains(weigh(A, B, low), 3)
    assert text.startswith("+0.028 [+0.012, +0.044], paired t, p 0.00")
    assert text.endswith("+2.1 sd")
    assert gains(weigh({0: 1.0}, {0: 2.0}, low), 1) == "+1.0"
    assert gains(weigh({}, {}, low), 1) == ""


def by_hand(one, two):
    """p, two-sided, of the mean ranks of every way to divide two sides; infinite ones are equal."""
    both = [*one, *two]
    ranks = [sum(y < x for y in both) + (sum(y == x for y in both) + 1) / 2 for x in both]
    ways = list(itertools.combinations(range(len(both)), len(one)))
    middle = len(one) * (len(both) + 1) / 2
    seen = abs(sum(ranks[: len(one)]) - middle)
    far = sum(abs(sum(ranks[i] for i in way) - middle) >= seen - 1e-9 for way in ways)
    return far / len(ways)


def test_a_run_that_diverged_is_the_worst_and_is_not_left_out():
    """Of three seeds of five nothing is known but that they diverged: no comparison is won so."""
    lost = {0: math.inf, 1: math.inf, 2: math.inf, 3: 0.01, 4: 0.02}
    (found,) = judged([weigh(lost, B, low)])
    assert (found.outcome, found.test) == ("undecided", "ranks")
    assert found.p == pytest.approx(by_hand(lost.values(), B.values()))
    assert found.gain == -math.inf
    # One is lost of five that are all worse: every division says so.
    (found,) = judged([weigh(A, {**{s: x + 1 for s, x in B.items()}, 4: math.inf}, low)])
    assert (found.outcome, found.p) == ("better", pytest.approx(2 / 252))
    assert gains(found, 2) == "+1.04 of medians, ranks, p 0.0079"
    (found,) = judged([weigh({**{s: x + 1 for s, x in B.items()}, 4: math.inf}, A, low)])
    assert found.outcome == "worse"
    # What is better when it is higher, too.
    (found,) = judged([weigh({**A, 4: math.inf}, {s: x + 1 for s, x in B.items()}, lambda x: -x)])
    assert (found.outcome, found.gain) == ("worse", pytest.approx(-1.03))


def test_where_most_of_both_diverged_the_ranks_say_who_is_better():
    """Both medians are infinite, and their difference is no number."""
    some = {s: math.inf if s < 16 else 0.1 for s in range(30)}
    most = {s: math.inf if s < 29 else 0.1 for s in range(30)}
    (found,) = judged([weigh(some, most, low)])
    assert (found.outcome, found.gain) == ("better", 0.0)
    assert judged([weigh(most, some, low)])[0].outcome == "worse"


def test_not_worse_by_ranks_shifts_the_other_side():
    lost = {**B, 4: math.inf}
    assert judged([weigh(A, lost, low, margin=0.0)], 0.0)[0].p < 0.05
    worse = {s: x + 0.05 for s, x in B.items()}
    alone = weigh(worse, lost, low, margin=0.03)
    shifted = [x + 0.03 for x in lost.values()]
    assert alone.p == pytest.approx(
        stats.permutation_test(
            (stats.rankdata([*shifted, *worse.values()])[:5],
             stats.rankdata([*shifted, *worse.values()])[5:]),
            lambda x, y: x.mean() - y.mean(),
            alternative="greater",
        ).pvalue
    )  # fmt: skip
    assert weigh(worse, lost, low, margin=1.0).p < alone.p


def test_of_many_seeds_the_ranks_have_a_normal_law():
    random = np.random.default_rng(0)
    one, two = (dict(enumerate(random.normal(m, 1.0, 12))) for m in (0.0, 1.0))
    two[3] = math.inf
    found = weigh(one, two, low)
    exact = stats.mannwhitneyu([*two.values()], [*one.values()], method="exact")
    assert found.p == pytest.approx(exact.pvalue, rel=0.15)


@pytest.mark.parametrize(
    ("question", "says"),
    [
        (lambda: weigh({0: 1.0, 1: math.nan}, A, low), "Seed 1 has no number"),
        (lambda: weigh(A, B, low, margin=-0.1), "at least 0"),
        (lambda: weigh(A, B, low, margin=math.nan), "at least 0"),
        (lambda: judged([weigh(A, B, low)] * 2, [None, 0.1]), "two families"),
    ],
)
def test_what_cannot_be_judged_is_refused(question, says):
    with pytest.raises(ValueError, match=says):
        question()
    assert judged([Evidence("", 1.0)])[0].outcome == "undecided", "no p decides nothing"
