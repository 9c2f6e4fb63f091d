"""A resolved config as typed values, those of earlier versions too."""

import dataclasses

import pytest

from tests.trainers.conftest import tiny, tiny_images
from trainers.experiment.options import GapOptions, Options, options_of, spec_of
from trainers.tasks.kinds import ImageSpec, PlanarCard, PlanarSpec, kind_of


def test_every_option_is_the_configs():
    other = {"seed": 3, "strategy": "mirrored", "publish": "ema", "log_every": 5, "keep_every": 7,
             "picture_every": 6, "checkpoint_every": 8, "keep_last": 2, "keep_best": "min:loss/w",
             "on_divergence": "rollback", "max_rollbacks": 9, "score_every": 4,
             "score_samples": 64, "health_every": 9, "film": True, "export": False}  # fmt: skip
    config = tiny("adam", num_batches=30, duality_gap__every=11, **other)
    options = options_of(config)
    for field in dataclasses.fields(Options):
        key = {"devices": "strategy"}.get(field.name, field.name)
        value = getattr(options, field.name)
        assert (dataclasses.asdict(value) if key == "duality_gap" else value) == config[key], key
        if field.default is not dataclasses.MISSING:
            assert value != field.default, "the test can tell"


def test_what_an_old_workdir_lacks_is_off_or_as_it_was():
    config = tiny("adam")
    for key in ("duality_gap", "score_every", "keep_best", "keep_every", "on_divergence"):
        del config[key]
    options = options_of(config)
    assert options.duality_gap == GapOptions()
    assert not options.duality_gap.every
    assert (options.score_every, options.keep_best, options.on_divergence) == (0, "", "stop")
    with pytest.raises(TypeError, match="num_batches"):
        options_of({k: v for k, v in config.items() if k != "num_batches"})


def test_the_kind_of_task_decides_what_it_is_made_from():
    planar, images = tiny(model__latent_dim=3), tiny_images(size=64, model__width=4)
    assert (kind_of(planar), kind_of(images)) == ("planar", "images")
    spec = spec_of(planar)
    assert isinstance(spec, PlanarSpec)
    assert (spec.latent_dim, spec.hidden_units, spec.dataset) == (
        3,
        ((16, 16), (16, 16)),
        "gaussians8",
    )
    assert spec.card == PlanarCard(num_samples=300, capture_samples=250)
    assert (spec.start, spec.fourier) == ({}, {})
    spec = spec_of(tiny(model__start_spread=2.0, model__fourier_features=3))
    assert spec.start == {"start_scale": 1.0, "start_spread": 2.0}
    assert spec.fourier == {"fourier_features": 3, "fourier_highest": 80.0}
    spec = spec_of(images)
    assert isinstance(spec, ImageSpec)
    assert (spec.size, spec.width, spec.num_classes) == (64, 4, 0), "3 classes, not conditional"
    assert dataclasses.asdict(spec.card) == images["scorecard"]
    later = {"num_stacks": 128_000}  # of stacked digits alone
    assert dataclasses.asdict(spec.data).items() <= {**later, **images["data"]}.items()
    assert spec_of(tiny_images(model__conditional=True)).num_classes == 3
