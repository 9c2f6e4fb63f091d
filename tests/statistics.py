"""Statistical assertions whose bounds come from theory, not from the run that they judge."""

from __future__ import annotations

import numpy as np
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

# A correct program fails a two-sided test at five standard errors once in 1.7 million.
NUM_SIGMAS = 5.0
P_VALUE = 1e-6


def effective_samples(series) -> float:
    """Effective sample size of series [T, C] over all chains C."""
    # The chains are reversible, so that sums of two neighbouring autocorrelations are positive
    # and Geyer's rule may cut the sum at the first pair that is not.
    each = tfp.mcmc.effective_sample_size(tf.constant(series), filter_beyond_positive_pairs=True)
    return float(tf.reduce_sum(each))


def r_hat(series) -> float:
    """Gelman and Rubin's potential scale reduction of series [T, C]."""
    return float(tfp.mcmc.potential_scale_reduction(tf.constant(series)))


def assert_mean(series, expected):
    """The mean of series [T, C] is `expected`, to the standard error of its effective size."""
    standard_error = np.std(series) / np.sqrt(effective_samples(series))
    error = np.mean(series) - expected
    assert abs(error) < NUM_SIGMAS * standard_error, (
        f"mean {np.mean(series):.6g}, expected {expected:.6g}: "
        f"{error / standard_error:.1f} standard errors off"
    )


def assert_counts(counts, probabilities):
    """Chi-square: independent draws fell into cells in these proportions."""
    expected = np.sum(counts) * np.asarray(probabilities)
    assert np.min(expected) > 20  # so that the chi-square law is good
    p = scipy.stats.chisquare(counts, expected).pvalue
    assert p > P_VALUE, f"counts {counts} against {expected}: p = {p:.2g}"
