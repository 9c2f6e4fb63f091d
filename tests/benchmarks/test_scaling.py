"""What the axes of benchmarks.scaling time."""

import pytest

from benchmarks import scaling


def test_the_axes_of_particles_differ_in_their_number_at_as_many_parameters(monkeypatch):
    monkeypatch.setattr(scaling.contest, "configured", lambda config, items: (config, items))
    for axis, (config, nums, total) in {
        "particles": ("gaussians8_mp", [1, 2, 4, 8, 16], 69_000),
        "particles_25": ("gaussians25_mp", [1, 2, 4, 8, 16, 25], 216_000),
    }.items():
        found = scaling._contestants(axis, None)
        assert [*found] == [str(num) for num in nums]
        for num, (of, items) in found.items():
            assert of == config
            (width,) = (x.split("(")[1].split(",")[0] for x in items if "hidden_units" in x)
            one = 2 * (int(width) ** 2 + int(width)) + (2 + 1) * int(width) + 2 * int(width) + 2
            assert int(num) * one == pytest.approx(total, rel=0.03)
            rest = {x for x in items if "num_particles" not in x and "hidden_units" not in x}
            assert rest == {"step_size=1.5e-3", "stability=1e-6", "temperature=1e-9"}
