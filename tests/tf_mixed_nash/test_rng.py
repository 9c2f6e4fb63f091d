"""The weight noise is N(0, I), and every stream is its own."""

import itertools

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tests.oracles import draws
from tests.statistics import NUM_SIGMAS, P_VALUE, assert_counts
from tf_mixed_nash import compile as compiling
from tf_mixed_nash import rng
from tf_mixed_nash.compile import fused
from tf_mixed_nash.games.functions import FunctionGame
from tf_mixed_nash.methods.oracle import Oracle

FLOATS = [tf.float32, tf.float64]
each_dtype = pytest.mark.parametrize("dtype", FLOATS, ids=["float32", "float64"])
NUM = 1_000_000


@each_dtype
def test_normal_has_the_moments_of_a_normal(dtype):
    """Standard errors of n normals: mean 1/sqrt n, variance sqrt(2/n), skewness sqrt(6/n),
    kurtosis sqrt(24/n)."""
    x = rng.normal(rng.stream(1, "moments"), NUM, dtype).numpy().astype(np.float64)
    assert abs(np.mean(x)) < NUM_SIGMAS / np.sqrt(NUM)
    assert abs(np.var(x) - 1) < NUM_SIGMAS * np.sqrt(2 / NUM)
    assert abs(scipy.stats.skew(x)) < NUM_SIGMAS * np.sqrt(6 / NUM)
    assert abs(scipy.stats.kurtosis(x, fisher=False) - 3) < NUM_SIGMAS * np.sqrt(24 / NUM)


@each_dtype
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_normal_has_the_law_of_a_normal(dtype, seed):
    x = rng.normal(rng.stream(seed, "law"), NUM, dtype).numpy()
    assert scipy.stats.kstest(x, "norm").pvalue > P_VALUE


def test_normal_is_finite_and_symmetric_where_its_words_are_extreme():
    """The outermost of 2^23 cells has its centre at the quantile 2^-24; with care for the
    rounding in float32 it is neither -1 nor 1, whose normals are infinite."""
    words = tf.constant([0, 0xFFFFFFFF, 511, 512], tf.uint32)
    lowest, highest, same, next_cell = fused(rng.normal_from_bits)(words).numpy()
    # float32's erfinv near 1 is good to about 1e-3.
    np.testing.assert_allclose(lowest, scipy.stats.norm.ppf(2.0**-24), rtol=2e-3)
    assert highest == -lowest
    assert same == lowest, "the lowest nine bits are not used"
    assert next_cell > lowest + 0.1


def test_a_pair_of_normals_is_box_and_mullers_of_its_two_words():
    """Against float64, at random words and at those where a quadrant begins or ends."""
    edges = [0, 1, 2**29 - 1, 2**29, 2**30, 2**31 - 1, 2**31, 3 * 2**30, 7 * 2**29, 2**32 - 1]
    a = np.random.default_rng(0).integers(0, 2**32, [2, 100_000], np.uint64).astype(np.uint32)
    a[1, : len(edges)] = edges
    pair = np.stack(fused(rng.normal_pair_from_bits)(*a)).astype(np.float64)
    u = ((a[0] >> 9) + 0.5) * 2.0**-23
    angle = 2 * np.pi * a[1] / 2.0**32
    expected = np.sqrt(-2 * np.log(u)) * np.stack([np.cos(angle), np.sin(angle)])
    np.testing.assert_allclose(pair, expected, rtol=0, atol=2e-6)


def test_a_pair_of_normals_is_finite_and_its_radius_ordered_where_words_are_extreme():
    words = tf.constant([0, 511, 512, 0xFFFFFFFF], tf.uint32)
    x, y = fused(rng.normal_pair_from_bits)(words, tf.zeros_like(words))
    np.testing.assert_allclose(x[0], np.sqrt(-2 * np.log(2.0**-24)), rtol=1e-6)
    assert x[0] == x[1] > x[2] > x[3] > 0
    np.testing.assert_array_equal(y, np.zeros(4))


def test_the_two_normals_of_a_pair_are_independent():
    """They are neighbours: neither they nor their squares are correlated, and the angle is
    uniform."""
    x, y = rng.normal(rng.stream(4, "pair"), NUM).numpy().astype(np.float64).reshape(-1, 2).T
    for power in (1, 2):
        assert abs(np.corrcoef(x**power, y**power)[0, 1]) < NUM_SIGMAS / np.sqrt(len(x))
    angle = np.arctan2(y, x)
    assert scipy.stats.kstest(angle, "uniform", (-np.pi, 2 * np.pi)).pvalue > P_VALUE


@pytest.mark.parametrize(
    ("rounds", "key", "counter", "answer"),
    [  # The known answers that Random123 publishes.
        (13, (0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731)),
        (13, (0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0xFD36D048, 0x2D17272C)),
        (13, (0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xBA3E4725, 0xF27D669E)),
        (20, (0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        (20, (0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
        (20, (0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_known_answers(rounds, key, counter, answer):
    words = [tf.constant([word], tf.uint32) for word in counter]
    result = rng.threefry(tf.constant(key, tf.uint32), *words, rounds)
    assert tuple(int(word[0]) for word in result) == answer


def test_uniforms_are_the_centres_of_their_cells():
    """Cell c of 2^23 has its centre at (c + 1/2) / 2^23, exactly, and never at 0 or 1."""
    words = np.array([0, 511, 512, 2**31 - 1, 2**31, 2**32 - 1], np.uint32)
    uniforms = rng.uniform_from_bits(tf.constant(words))
    assert uniforms.dtype == tf.float32
    np.testing.assert_array_equal(uniforms, ((words >> 9) + 0.5) / 2**23)


def test_the_words_of_a_row_are_a_function_of_the_row_alone():
    """The same bits in another batch and under XLA; all 128 bits of a row matter."""
    seeds = tf.constant([[0, 0], [0, 1], [1, 0], [2**32, 0], [0, 2**32], [-1, 5]], tf.int64)
    words = rng.row_words(seeds, 7).numpy()
    assert words.shape == (6, 7)
    assert words.dtype == np.uint32
    np.testing.assert_array_equal(rng.row_words(seeds[3:4], 7)[0], words[3])
    np.testing.assert_array_equal(fused(lambda rows: rng.row_words(rows, 7))(seeds), words)
    assert len(np.unique(words)) == 42  # two of 42 random words coincide once in 5 million


def test_words_of_neighbouring_rows_are_uniform_and_uncorrelated():
    """Rows (s, i) for s and i from 0 on, as clients send them: the law of every word, and the
    correlations of words within a row and of neighbouring rows."""
    seeds = np.stack(np.divmod(np.arange(40_000), 200), axis=1)
    u = rng.uniform_from_bits(rng.row_words(tf.constant(seeds), 3)).numpy()
    for column in u.T:
        assert scipy.stats.kstest(column, "uniform").pvalue > P_VALUE
    pairs = [
        (u[:, 0], u[:, 1]),
        (u[:, 0], u[:, 2]),
        (u[1:, 0], u[:-1, 0]),
        (u[200:, 0], u[:-200, 0]),
    ]
    for a, b in pairs:
        assert abs(np.corrcoef(a, b)[0, 1]) < NUM_SIGMAS / np.sqrt(len(a))


@each_dtype
@pytest.mark.parametrize("num", [1, 7, 1023, 1024, 1025, 3333])
def test_normal_has_any_length(dtype, num):
    key = rng.stream(5, "lengths")
    x = rng.normal(key, num, dtype)
    assert x.shape == [num]
    assert x.dtype == dtype
    # No block is repeated. Of 3333 values among 2^23, 0.7 pairs are expected to coincide.
    assert len(np.unique(x)) > 0.99 * num
    np.testing.assert_array_equal(x, rng.normal(key, num, dtype))


def test_normal_is_the_same_inside_a_graph():
    key = rng.stream(5, "graph")
    inside = tf.function(lambda key: rng.normal(key, 100))(key)
    np.testing.assert_array_equal(inside, rng.normal(key, 100))


def test_draws_of_different_seeds_players_and_mini_batches_are_uncorrelated():
    """Correlations of n independent pairs have standard error 1/sqrt n; so have those of the
    squares. 276 pairs and five standard errors: one false alarm in 6,000."""
    num = 20_000
    z, game = tf.zeros([num]), FunctionGame(lambda theta, w: tf.constant(0.0))
    draws = [
        Oracle(game, seed=seed).noise(player, z, m)
        for seed, player, m in itertools.product([0, 1], ["theta", "w"], [0, 1, 2, 3, 1000, 10**6])
    ]
    assert len(draws) == 24
    for rows in (np.array(draws), np.array(draws) ** 2):
        correlations = np.corrcoef(rows)[np.triu_indices(24, 1)]
        assert np.max(np.abs(correlations)) < NUM_SIGMAS / np.sqrt(num)


def test_coordinates_and_time_are_uncorrelated():
    """Neighbours within a draw, and the same coordinate in successive mini-batches."""
    key = rng.stream(9, "time")
    x = np.array([rng.normal(rng.fold_in(key, m), 2000) for m in range(100)])
    n = x[:, 1:].size
    assert abs(np.mean(x[:, 1:] * x[:, :-1])) < NUM_SIGMAS / np.sqrt(n)
    assert abs(np.mean(x[1:] * x[:-1])) < NUM_SIGMAS / np.sqrt(n)


def keys(make, arguments):
    """How many different keys `make` gives."""
    return len({tuple(make(*a).numpy()) for a in arguments})


def test_streams_are_separate():
    """By seed, also beyond 31 bits, and by name."""
    seeds = [0, 1, 2, 2**31 - 1, 2**31, 2**31 + 1, 2**40, 2**62, 2**63 - 1]
    names = ["noise/theta", "noise/w", "field/theta", "field/w", ""]
    arguments = list(itertools.product(seeds, names))
    assert keys(rng.stream, arguments) == len(arguments)


def test_a_stream_is_a_function_of_its_arguments():
    key = rng.stream(3, "noise/theta")
    assert key.dtype == tf.int32
    assert key.shape == [2]
    np.testing.assert_array_equal(key, rng.stream(3, "noise/theta"))


def test_fold_in_gives_every_counter_its_own_key():
    """64-bit keys: two of 20,000 random ones collide once in 10^11."""
    key = rng.stream(0, "counter")
    fold = tf.function(lambda m: tf.map_fn(lambda i: rng.fold_in(key, i), m))
    counters = tf.concat([tf.range(19_999), [2**31 - 1]], axis=0)
    assert len(np.unique(fold(counters), axis=0)) == 20_000


@pytest.mark.parametrize("counter", [7, tf.constant(7, tf.int64), tf.constant(7)])
def test_fold_in_takes_any_integer_type(counter):
    key = rng.stream(0, "counter")
    np.testing.assert_array_equal(rng.fold_in(key, counter), rng.fold_in(key, 7))


def test_python_seed_fits_31_bits_and_separates_keys():
    seeds = [rng.python_seed(rng.stream(seed, "init")) for seed in range(100)]
    assert all(isinstance(seed, int) and 0 <= seed < 2**31 for seed in seeds)
    assert len(set(seeds)) == 100


# The other draws, against the NumPy transcription and their laws.

KEY = (123456789, -987654321)


def key_of(*words):
    return tf.constant(words or KEY, tf.int32)


@pytest.mark.parametrize("counters", [(0,), (7,), (7, 0), (0, 7), (2**31 - 1, 3), (2**40 + 5,)])
def test_keys_are_the_transcriptions(counters):
    expected = draws.fold_in(KEY, *counters)
    np.testing.assert_array_equal(rng.fold_in(key_of(), *counters), expected)
    tensors = [tf.constant(c, tf.int64) for c in counters]
    np.testing.assert_array_equal(rng.fold_in(key_of(), *tensors), expected)
    if len(counters) == 1:
        np.testing.assert_array_equal(rng.keys(key_of(), tensors), [expected])


def test_normals_are_the_transcriptions():
    """In float64 to its rounding, at counters too; in float32 the same numbers, rounded."""
    expected = draws.normal(KEY, 4999, at=5)
    x = rng.normal(key_of(), 4999, tf.float64, at=tf.constant(5))
    np.testing.assert_allclose(x, expected, rtol=1e-13, atol=1e-14)
    near = rng.normal(key_of(), 4999, tf.float32, at=5)
    np.testing.assert_allclose(near, expected, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(
        rng.normal(key_of(), [3, 2], tf.bfloat16, at=5),
        tf.cast(tf.reshape(near[:6], [3, 2]), tf.bfloat16),
    )


def test_uniforms_integers_and_choices_are_the_transcriptions():
    u = rng.uniform(key_of(), 501, tf.float64, at=9).numpy()
    np.testing.assert_array_equal(u, draws.uniform(KEY, 501, 9))
    near = rng.uniform(key_of(), 501, at=9).numpy()
    np.testing.assert_array_equal(near, (np.floor(u * 2**23) + 0.5) / 2**23)
    for end in (1, 2, 7, 1000, 2**31 + 11, 2**32 - 1):
        drawn = rng.integer(key_of(), [3, 167], tf.constant(end, tf.int64), at=9)
        np.testing.assert_array_equal(np.ravel(drawn), draws.integer(KEY, 501, end, 9))
    weights = np.random.default_rng(0).exponential(size=12)
    chosen = rng.choice(key_of(), 501, tf.constant(weights), at=9)
    np.testing.assert_array_equal(chosen, draws.choice(KEY, 501, weights, 9))


def test_extreme_words_make_no_draw_beyond_its_range():
    words = tf.constant([0, 0xFFFFFFFF], tf.uint32)
    for end in (1, 3, 2**32 - 1):
        below = rng._below(tf.constant(end, tf.int64), words, words)
        np.testing.assert_array_equal(below, [0, end - 1])
    x, y = fused(lambda a: rng.normal_pair_from_bits(a, a, tf.float64))(words)
    assert np.isfinite(np.stack([x, y])).all()


@pytest.mark.parametrize("in_graph", [True, False], ids=["graph", "program"])
def test_draws_are_the_same_wherever_they_are_made(in_graph):
    """Eagerly, as single compiled functions of a graph, and inside one XLA program: the integers
    bit for bit, what is computed of them to the rounding."""

    def several(key, m):
        return {
            "key": rng.fold_in(key, m, 3),
            "integer": rng.integer(key, 33, 1000, at=m),
            "row": rng.integer(key, [], m + 1, at=2),
            "slot": rng.reservoir_slot(m, 2, rng.fold_in(key, m)),
            "uniform": rng.uniform(key, 33, tf.float64, at=m),
            "single": rng.uniform(key, [11, 3], at=m),
            "normal": rng.normal(key, 2049, tf.float64, at=m),
            "float32": rng.normal(key, 2049, at=m),
        }

    def program(key, m):
        with compiling.whole():
            return several(key, m)

    m = tf.constant(6, tf.int64)
    compiled = tf.function(several if in_graph else program, jit_compile=not in_graph)
    there = compiled(key_of(), m)
    for name, here in several(key_of(), m).items():
        if name == "normal":
            np.testing.assert_allclose(there[name], here, rtol=1e-14, atol=1e-15)
        elif name == "float32":
            np.testing.assert_allclose(there[name], here, rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(there[name], here, err_msg=name)


@each_dtype
def test_uniform_has_the_law_of_a_uniform(dtype):
    """Moments to standard errors (mean 1/sqrt(12 n), variance 1/sqrt(180 n)), and the law."""
    u = rng.uniform(rng.stream(3, "uniform"), NUM, dtype).numpy().astype(np.float64)
    assert 0 < u.min() < u.max() < 1
    assert abs(np.mean(u) - 1 / 2) < NUM_SIGMAS / np.sqrt(12 * NUM)
    assert abs(np.var(u) - 1 / 12) < NUM_SIGMAS / np.sqrt(180 * NUM)
    assert scipy.stats.kstest(u, "uniform").pvalue > P_VALUE
    # The lowest bits, too.
    low = u * 2**20 % 1 if dtype == tf.float32 else u * 2**49 % 1
    assert_counts(np.bincount((8 * low).astype(int), minlength=8), np.full(8, 1 / 8))


@pytest.mark.parametrize("end", [2, 7, 10, 1000, 2**31 + 2**30])
def test_integers_are_uniform(end):
    drawn = rng.integer(rng.stream(end, "integer"), 200_000, end).numpy()
    assert drawn.dtype == np.int64
    assert 0 <= drawn.min() <= drawn.max() < end
    cells = min(end, 1000)
    assert_counts(np.bincount(drawn * cells // end, minlength=cells), np.full(cells, 1 / cells))


def test_choices_have_their_weights():
    weights = np.array([0.0, 3.0, 1.0, 0.0, 0.5, 5.5, 0.0])
    chosen = rng.choice(rng.stream(1, "choice"), 100_000, tf.constant(weights, tf.float32)).numpy()
    counts = np.bincount(chosen, minlength=7)
    assert not counts[weights == 0].any()
    assert_counts(counts[weights > 0], weights[weights > 0] / weights.sum())


def test_draws_of_neighbouring_keys_counters_and_entries_are_uncorrelated():
    """Uniforms of 40 streams, 40 counters of one key, 40 keys of one stream; and neighbours within
    each: correlations of n pairs have standard error 1/sqrt n."""
    num = 5_000
    key = rng.stream(0, "correlation")
    draws_ = [rng.uniform(rng.stream(i, "correlation"), num, tf.float64) for i in range(40)]
    draws_ += [rng.uniform(key, num, tf.float64, at=i) for i in range(1, 41)]
    draws_ += [rng.uniform(rng.fold_in(key, i), num, tf.float64) for i in range(40)]
    u = np.array(draws_) - 0.5
    for rows in (u, u**2):
        correlations = np.corrcoef(rows)[np.triu_indices(len(u), 1)]
        assert np.abs(correlations).max() < 5.5 / np.sqrt(num)  # 7,140 pairs: once in 3,700
    for lag in (1, 2, 7):
        r = 12 * np.mean(u[:, lag:] * u[:, :-lag])
        assert abs(r) < NUM_SIGMAS / np.sqrt(u[:, lag:].size)


def test_words_of_neighbouring_keys_differ_in_half_of_their_bits():
    """Keys of counters 0, 1, 2, ... and the first words that they make."""
    keys_ = rng.keys(key_of(), tf.range(20_000)).numpy().view(np.uint32)
    first = np.stack(draws.threefry(keys_.T, np.zeros(20_000), np.zeros(20_000), 13), axis=1)
    for words in (keys_, first):
        bits = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=1)
        changed = (bits[1:] != bits[:-1]).mean(axis=0)
        assert np.abs(changed - 0.5).max() < NUM_SIGMAS * 0.5 / np.sqrt(19_999)
        ones = bits.mean(axis=0)
        assert np.abs(ones - 0.5).max() < NUM_SIGMAS * 0.5 / np.sqrt(20_000)


def test_a_key_and_what_is_drawn_by_it_are_unrelated():
    """Its words are not among the keys folded from it, also where the second counter is theirs."""
    folded = rng.keys(key_of(), tf.range(10_000)).numpy().view(np.uint32)
    drawn = np.concatenate([np.stack(draws.words(KEY, 10_000, c), 1) for c in (0, draws.KEYS)])
    assert not set(map(tuple, folded)) & set(map(tuple, drawn))


def test_a_stream_is_made_on_the_host_also_inside_a_program():
    """The keys that seed networks and orders of records: those of every version so far."""
    inside = tf.function(lambda: rng.stream(3, "inside a program"), jit_compile=True)()
    np.testing.assert_array_equal(inside, rng.stream(3, "inside a program"))
    np.testing.assert_array_equal(rng.stream(0, "init/generator"), [-241444658, 1859428139])
