"""FID, KID and PRDC against closed forms, SciPy, and the public prdc package."""

import numpy as np
import pytest
import scipy.linalg
from prdc import compute_prdc

from tf_mixed_nash.metrics import distances


def features(num, dim, seed, shift=0.0, scale=1.0):
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(dim, dim)) / np.sqrt(dim)
    return random.normal(size=(num, dim)) @ mixing * scale + shift


@pytest.mark.parametrize("dim", [1, 3, 40])
def test_fid_is_scipys(dim):
    real, fake = features(500, dim, 0), features(300, dim, 1, 0.3, 1.2)
    a, b = np.atleast_2d(np.cov(real.T)), np.atleast_2d(np.cov(fake.T))
    root = scipy.linalg.sqrtm(a @ b)
    expected = ((real.mean(0) - fake.mean(0)) ** 2).sum() + np.trace(a + b - 2 * np.real(root))
    found = distances.frechet_distance(distances.moments(real), distances.moments(fake))
    assert found == pytest.approx(expected, rel=1e-8)


def test_fid_of_normal_laws_in_closed_form():
    """Diagonal covariances s^2, t^2: |m|^2 + sum (s - t)^2."""
    s, t, m = np.array([1.0, 2.0, 0.5]), np.array([3.0, 1.0, 0.5]), np.array([1.0, 0.0, -2.0])
    real = distances.Moments(np.zeros(3), np.diag(s**2))
    fake = distances.Moments(m, np.diag(t**2))
    expected = 5.0 + ((s - t) ** 2).sum()
    assert distances.frechet_distance(real, fake) == pytest.approx(expected, rel=1e-12)
    assert distances.frechet_distance(real, real) == pytest.approx(0.0, abs=1e-12)


def test_fid_with_fewer_samples_than_features_is_finite_and_zero_on_itself():
    few = distances.moments(features(10, 64, 0))
    assert distances.frechet_distance(few, few) == pytest.approx(0.0, abs=1e-6)
    assert np.isfinite(distances.frechet_distance(few, distances.moments(features(10, 64, 1))))


def test_kid_of_all_rows_is_the_double_sum():
    x, y = features(20, 4, 0), features(20, 4, 1, 0.5)

    def k(a, b):
        return (np.dot(a, b) / 4 + 1) ** 3

    pairs = [(i, j) for i in range(20) for j in range(20) if i != j]
    expected = (
        np.mean([k(x[i], x[j]) for i, j in pairs])
        + np.mean([k(y[i], y[j]) for i, j in pairs])
        - 2 * np.mean([k(a, b) for a in x for b in y])
    )
    mean, spread = distances.kernel_distance(x, y, num_subsets=3, subset_size=1000)
    assert mean == pytest.approx(expected, rel=1e-10)
    assert spread == pytest.approx(0.0, abs=1e-12)


def test_kid_is_unbiased_zero_on_equal_laws_and_positive_on_others():
    x = features(4000, 8, 0)
    mean, spread = distances.kernel_distance(x, features(4000, 8, 1), 50, 500)
    assert abs(mean) < 4 * spread / np.sqrt(8)  # 8 disjoint subsets fit into 4000 rows
    assert distances.kernel_distance(x, features(4000, 8, 1, 0.5), 50, 500)[0] > 5 * spread


@pytest.mark.parametrize(("num_real", "num_fake", "k"), [(150, 90, 5), (1200, 1100, 3)])
@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_prdc_is_the_public_packages(num_real, num_fake, k, shift, capsys):
    real, fake = features(num_real, 6, 0), features(num_fake, 6, 1, shift, 0.8)
    expected = compute_prdc(real, fake, nearest_k=k)
    capsys.readouterr()  # it prints
    found = distances.prdc(real, fake, k)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name


def test_prdc_tells_collapse_from_noise():
    real = features(400, 4, 0)
    collapsed = distances.prdc(real, real[:1] + 1e-3 * features(400, 4, 1))
    assert collapsed["coverage"] < 0.05
    assert collapsed["precision"] > 0.9
    noise = distances.prdc(real, features(400, 4, 1, scale=30.0))
    assert noise["precision"] < 0.3
    assert noise["density"] < 0.1


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: distances.moments(np.zeros((1, 3))), "n >= 2"),
        (lambda: distances.moments(np.full((3, 3), np.nan)), "finite"),
        (lambda: distances.prdc(np.zeros((5, 3)), np.zeros((9, 3))), "n >= 6"),
        (lambda: distances.kernel_distance(np.zeros(4), np.zeros((4, 2))), "features"),
    ],
)
def test_bad_features_are_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()
