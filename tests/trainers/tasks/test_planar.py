"""What is said of each mode of data in the plane."""

import math

import numpy as np
import pytest

from trainers.tasks import planar
from trainers.tasks.data import synthetic
from trainers.tasks.kinds import PlanarCard


@pytest.fixture(scope="module")
def scores():
    """Of an answer whose fourth mode is half as wide, and another with few samples of a mode."""
    data = synthetic.make("gaussians8")
    card = PlanarCard(num_samples=4_000, capture_samples=500)

    def sampler(change):
        def draw(seeds):
            random = np.random.default_rng(0)
            mode = np.arange(len(seeds)) % 8
            return data.modes[mode] + change(
                mode, data.sigma * random.standard_normal((len(mode), 2))
            )

        return draw

    def narrow(mode, offset):
        return offset * np.where(mode == 3, 0.5, 1.0)[:, None]

    def lost(mode, offset):
        # All but five of the first mode go far away.
        few = (mode == 0) & (np.arange(len(mode)) >= 40)
        return np.where(few[:, None], 10.0, offset)

    return planar.score_samplers({"last": sampler(lost), "mixture": sampler(narrow)}, data, card)


def test_a_scorecard_has_the_widths_of_every_mode(scores):
    by_mode = scores["by_mode"]
    assert list(by_mode) == ["last", "mixture", "real_data"]
    assert {len(values) for each in by_mode.values() for values in each.values()} == {8}
    mine = by_mode["mixture"]
    assert np.argmin(mine["narrowest"]) == np.argmin(mine["widest"]) == 3
    assert mine["widest"][3] == pytest.approx(0.5, abs=0.05)  # four of 1 / sqrt(2 * 500) halves
    assert min(by_mode["real_data"]["narrowest"]) > 0.85
    # The scorecards' numbers are means of these.
    cards = {**scores["strategies"], "real_data": scores["real_data_ceiling"]}
    for name, card in cards.items():
        each = by_mode[name]
        logs = np.abs(np.log([each["narrowest"], each["widest"]]))
        assert card["principal_std_log"] == pytest.approx(np.nanmean(logs), rel=1e-9)
        assert card["radius_ks"] == pytest.approx(np.nanmean(each["radius_ks"]), rel=1e-9)
    assert sum(mine["mass"]) == pytest.approx(1.0)
    assert math.isnan(by_mode["last"]["widest"][0])
    assert math.isnan(by_mode["last"]["radius_ks"][0])


def test_the_widths_of_the_published_answer_are_told_beside_real_datas(scores):
    mine, real = scores["by_mode"]["mixture"], scores["by_mode"]["real_data"]
    lines = list(planar._width_lines(scores["by_mode"], "mixture"))
    narrow, wide = min(mine["narrowest"]), max(mine["widest"])
    assert lines[0].startswith(f" mixture    widths of its modes {narrow:.2f} to {wide:.2f} of the")
    assert lines[0].endswith(f"radius KS to {max(mine['radius_ks']):.2f}")
    assert f"{min(real['narrowest']):.2f} to {max(real['widest']):.2f}" in lines[1]
    (first, _) = planar._width_lines(scores["by_mode"], "last")
    assert first.endswith(", 1 modes with too few samples")
    assert not list(planar._width_lines(scores["by_mode"], None))
    assert not list(planar._width_lines({}, "mixture"))
