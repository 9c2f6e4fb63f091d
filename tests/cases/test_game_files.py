"""Games as people have them: files of data, matrices of two players, payoffs of plain Python."""

import json

import numpy as np
import pytest
from absl import flags

from tf_mixed_nash import ContinuousGame, MatrixGame
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.boxes import Box
from tf_mixed_nash.solvers import lp, matrix, regret
from tf_mixed_nash.solvers.solve import methods_of, solve
from tf_mixed_nash.types import Measure
from trainers import solve as command
from trainers.games import load, report
from trainers.games.bimatrix import ZeroSumBimatrix
from trainers.system import cli

PENNIES = "1 -1 -1 1 -1 1 1 -1"  # of both players, the first's strategy changes first
# name -> (content, F(row, column) of the table that is solved, row labels, column labels)
TABLES = {
    "plain.csv": ("0,2\n1,0\n", [[0, 2], [1, 0]], None, None),
    "labels.csv": (",l,r\nup,0,2\ndown,1,0\n", [[0, 2], [1, 0]], ["up", "down"], ["l", "r"]),
    "header.csv": ("l,r\n0,2\n1,0\n", [[0, 2], [1, 0]], None, ["l", "r"]),
    "rows.csv": ("up,0,2\ndown,1,0\n", [[0, 2], [1, 0]], ["up", "down"], None),
    "pandas.csv": (",0,1\n0,0.0,2.0\n1,1.0,0.0\n", [[0, 2], [1, 0]], ["0", "1"], ["0", "1"]),
    "r.csv": ('"l","r"\n"up",0,2\n"down",1,0\n', [[0, 2], [1, 0]], ["up", "down"], ["l", "r"]),
    "excel.csv": ("\ufeffsep=;\n0;2,5\n1;0\n", [[0, 2.5], [1, 0]], None, None),
    "tabs.csv": ("0\t2\n1\t0\n", [[0, 2], [1, 0]], None, None),
    "spaces.csv": ("# a comment\n 0  2\n\n 1  0 \n", [[0, 2], [1, 0]], None, None),
    "fractions.csv": ("0,1/2\n-1e-1,0\n", [[0, 0.5], [-0.1, 0]], None, None),
    "ends.csv": ("0,2,\n1,0,\n", [[0, 2], [1, 0]], None, None),
    "pairs.csv": ('"1,-1","-1,1"\n"-1,1","1,-1"\n', [[-1, 1], [1, -1]], None, None),
    "one.csv": ("3\n", [[3]], None, None),
    "plain.json": ("[[0, 2], [1, 0]]", [[0, 2], [1, 0]], None, None),
    "texts.json": ('[["0", "2"], ["1/1", 0]]', [[0, 2], [1, 0]], None, None),
    "table.json": ('{"table": [[0, 2]], "row_labels": ["é"]}', [[0, 2]], ["é"], None),
    "two.json": ('{"A": [[1, 2]], "B": [[-1, -2]]}', [[-1, -2]], None, None),
    "constant.json": ('{"A": [[3, 2]], "B": [[7, 8]]}', [[7, 8]], None, None),
    "scaled.json": ('{"A": [[1, 3]], "B": [[-2, -6]]}', [[-2, -6]], None, None),
    "pairs.json": ('{"payoffs": [[[1, -1], [0, 0], [2, -2]]]}', [[-1, 0, -2]], None, None),
    "payoffs.nfg": (f'NFG 1 R "Pennies" {{ "a" "b" }} {{ 2 2 }}\n\n{PENNIES}\n',
                    [[-1, 1], [1, -1]], None, None),
    "strategies.nfg": ('NFG 1 D "say \\"hi\\"" { "a" "b" }\n{ { "t" "u" } { "l" } }\n""\n'
                       "1/2 -1/2 .5 -0.5\n", [[-0.5], [-0.5]], ["t", "u"], ["l"]),
    "outcomes.nfg": ('NFG 1 R "RPS" { "a" "b" } { 3 3 } "by outcomes" { { "tie" 0, 0 } '
                     '{ "" 1, -1 } { "" -1, 1 } }\n1 2 3 3 0 2 2 3 1\n',
                     [[0, 1, -1], [-1, 0, 1], [1, -1, 0]], None, None),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_payoffs_from_a_file(tmp_path, name):
    """Seen: the form is FILE.py:NAME. Rows minimise what is read, columns maximise it."""
    content, table, rows, columns = TABLES[name]
    (tmp_path / name).write_text(content, encoding="utf-8")
    game = load.load_game(str(tmp_path / name))
    np.testing.assert_allclose(-game.payoff.numpy().T, table, atol=1e-12)
    # A player's mixture is over columns of A for who minimises: its labels are `column_labels`.
    assert (game.column_labels, game.row_labels) == (rows, columns)


def test_arrays_of_numpy(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[0, 2], [1, 0]], np.int8))
    game = load.load_game(str(tmp_path / "a.npy"))
    np.testing.assert_array_equal(-game.payoff.numpy().T, [[0, 2], [1, 0]])
    np.save(tmp_path / "b.npy", np.array([[[1, 2, 3]], [[-1, -2, -3]]]))
    both = load.load_game(str(tmp_path / "b.npy"))
    assert isinstance(both, ZeroSumBimatrix)
    np.testing.assert_array_equal(both.A, [[1, 2, 3]])


GENERAL = '{"A": [[3, 0], [5, 1]], "B": [[3, 5], [0, 1]]}'
_NFG = 'NFG 1 R "x" { "a" "b" } '


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "1,2\n3,x\n", "row 2, column 2 of the payoffs is 'x'"),
        ("a.csv", "1,2\n3\n", "row 2 of the payoffs has 1 entries, expected 2"),
        ("a.csv", "1,2\n3,nan\n", "must be finite"),
        ("a.csv", "0,2e-320\n1e-320,0\n", "take numbers for 0. Multiply the payoffs"),
        ("a.csv", "", "is empty"),
        ("a.csv", "a,b\n", "no row of payoffs"),
        ("a.csv", '"3,3","0,5"\n"5,0","1,1"\n', "Gambit"),
        ("a.json", "[[1, 2], [3]]", r"row \[1\] has 1 entries"),
        ("a.json", "[[1, null]]", r"entry \[0, 1\] is None"),
        ("a.json", "[[1, true]]", r"entry \[0, 1\] is True"),
        ("a.json", "[1, 2]", "nested 1 deep"),
        ("a.json", "[[[[1]]]]", "nested 4 deep"),
        ("a.json", "[]", "nested 1 deep"),
        ("a.json", "{", "no JSON"),
        ("a.json", '{"tabel": [[1]]}', "Unknown key 'tabel'"),
        ("a.json", '{"A": [[1]]}', '"A" and "B"'),
        ("a.json", '{"table": [[1]], "row_labels": ["a", "b"]}', "labels"),
        ("a.json", GENERAL, "general-sum game.*Gambit.*nashpy"),
        ("a.json", '{"A": [[1, 2]], "B": [[1, 2]]}', "general-sum game"),
        ("a.json", '{"A": [[1, 1]], "B": [[1, 2]]}', "general-sum game"),
        ("a.json", '{"A": [[1, 1]], "B": [[1], [1]]}', "one shape"),
        ("a.json", "[[[1,2],[3,4]],[[5,6],[7,9]]]", "Gambit"),
        ("a.nfg", "hello", 'does not begin with "NFG 1"'),
        ("a.nfg", 'NFG 1 R "x" { "a" "b" "c" } { 2 2 2 } 1', "3 players.*Gambit"),
        ("a.nfg", _NFG + "{ 2 2 } 1 -1 -1 1 -1 1 1", "'its end', expected a payoff"),
        ("a.nfg", _NFG + "{ 1 1 } 1 -1 7", "the end after 1 x 1"),
        ("a.nfg", _NFG + "{ 1 1 } { { 1, -1 } } 2", "an outcome of at most 1"),
        ("a.nfg", _NFG + "{ 2 2 } 3 3 5 0 0 5 1 1", "general-sum game.*Gambit"),
        ("a.nfg", _NFG + "{ 1 x }", "whole number"),
        ("a.nfg", _NFG, "expected {"),
        ("a.txt", "1 2", r"\.csv, \.npy, \.json, \.nfg"),
    ],
)
def test_a_file_that_is_no_game_says_why(tmp_path, name, content, says):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=f"(?s){says}"):
        load.load_game(str(tmp_path / name))


def test_files_that_are_missing_or_no_arrays(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"no array")
    np.save(tmp_path / "c.npy", np.array([[1j]]))
    np.savez(tmp_path / "b", x=np.ones((2, 2)))
    for name, says in (
        ("a.npy", "no NumPy array"),
        ("c.npy", "real numbers"),
        ("none.csv", "there is no file"),
        ("b.npz", "FILE.py:NAME"),
    ):
        with pytest.raises(InputError, match=says):
            load.load_game(str(tmp_path / name))


def test_two_matrices_of_python_are_understood_or_refused_in_words(tmp_path):
    """Seen: must be a matrix."""
    path = tmp_path / "two.py"
    path.write_text(
        "import numpy as np\n"
        "pennies = ([[1, -1], [-1, 1]], [[-1, 1], [1, -1]])\n"
        "stacked = np.array(pennies)\n"
        "dilemma = ([[3, 0], [5, 1]], [[3, 5], [0, 1]])\n"
        "unclear = np.array([[[1, 2], [3, 5]], [[-1, -2], [-3, -5]]])\n"
    )
    for name in ("pennies", "stacked"):
        game = load.load_game(f"{path}:{name}")
        np.testing.assert_array_equal(game.A, [[1, -1], [-1, 1]])
    for name, says in (("dilemma", "general-sum.*Gambit"), ("unclear", "could be two matrices")):
        with pytest.raises(InputError, match=says):
            load.load_game(f"{path}:{name}")


def test_payoffs_and_regrets_of_both_players():
    """Pennies of 10 and 1 cents, and the second's payoffs doubled and shifted."""
    A = np.array([[3.0, -1.0], [-1.0, 1.0]])
    game = ZeroSumBimatrix(A, 5 - 2 * A, players=("row", "column"))
    solution = lp.solve(game)
    np.testing.assert_allclose(solution.nu.weights, [1 / 3, 2 / 3], atol=1e-9)
    np.testing.assert_allclose(solution.mu.weights, [1 / 3, 2 / 3], atol=1e-9)
    payoffs = game.payoffs(solution)
    assert payoffs["row"]["payoff"] == pytest.approx(1 / 3)
    assert payoffs["column"]["payoff"] == pytest.approx(5 - 2 / 3)
    assert solution.value == pytest.approx(5 - 2 / 3)
    assert max(p["regret"] for p in payoffs.values()) < 1e-12
    assert "B = -2 A + 5" in game.note
    pure = Measure(solution.nu.atoms, np.array([1.0, 0.0]))
    away = game.payoffs(solution._replace(nu=pure, mu=pure))
    assert away == {"row": {"payoff": 3, "regret": 0}, "column": {"payoff": -1, "regret": 8}}


# Methods.


@pytest.mark.parametrize("solver", [lp.solve, regret.solve], ids=["lp", "regret"])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_exact_methods_agree_with_mirror_prox(solver, seed):
    table = np.random.default_rng(seed).normal(size=(7, 5))
    game = MatrixGame.from_table(table)
    ours, theirs = solver(game), matrix.solve(game, num_steps=4000)
    assert ours.gap <= (1e-12 if solver is lp.solve else 1e-3)
    assert ours.gap == pytest.approx(float(game.gap(ours.nu.weights, ours.mu.weights)), abs=1e-12)
    assert ours.value == pytest.approx(theirs.value, abs=ours.gap + theirs.gap)
    assert ours.nu.weights.sum() == pytest.approx(1)
    assert len(ours.mu.weights) == 5


def test_the_linear_programme_on_edges():
    """One strategy, equal payoffs, dominated rows, an offset."""
    assert lp.solve(MatrixGame.from_table([[3.0]])).value == 3
    assert lp.solve(MatrixGame.from_table(np.zeros((2, 3)))).gap == 0
    dominated = lp.solve(MatrixGame.from_table([[5.0, 6.0], [1.0, 2.0]]))
    np.testing.assert_allclose(dominated.nu.weights, [0, 1])
    assert dominated.value == pytest.approx(2)
    shifted = MatrixGame([[0.0, -1.0], [-2.0, 0.0]], [10.0, 10.0])
    assert lp.solve(shifted).value == pytest.approx(10 + 2 / 3)


def test_regret_matching_stops_at_the_tolerance_and_weighs_late_steps_more():
    game = MatrixGame.from_table([[0.0, 2.0], [1.0, 0.0]])
    stopped = regret.solve(game, tolerance=1e-2)
    assert stopped.gap <= 1e-2
    assert stopped.details["converged"]
    assert int(stopped.history["step"][-1]) < 10_000
    # The first two steps by hand: from uniform strategies x loses (1, 1/2).
    two = regret.solve(game, num_steps=2)
    p, q = np.full(2, 0.5), np.full(2, 0.5)
    F, r, s, P = np.array([[0.0, 2.0], [1.0, 0.0]]), np.zeros(2), np.zeros(2), np.zeros(2)
    for t in (1, 2):
        r = np.maximum(r + p @ F @ q - F @ q, 0)
        p = r / r.sum() if r.sum() else np.full(2, 0.5)
        s = np.maximum(s + p @ F - p @ F @ q, 0)
        q = s / s.sum() if s.sum() else np.full(2, 0.5)
        P += t * p
    np.testing.assert_allclose(two.nu.weights, P / 3)


# Values.


@pytest.mark.parametrize("size", [2e200, 3e-200], ids=["large", "small"])
@pytest.mark.parametrize(
    ("method", "options"),
    [("mirror_prox", {"num_sampled": 4}), ("mirror_prox", {"noise_std": 0.5}),
     ("mirror_descent", {}), ("lp", {}), ("regret_matching_plus", {})],
)  # fmt: skip
def test_extreme_payoffs_are_solved_as_others_are(size, method, options):
    """Seen: payoffs of 2e200 with sampling overflowed."""
    if method not in ("lp",):
        options = {**options, "num_steps": 300}
    plain = solve(MatrixGame.from_table([[0.0, 2.0], [1.0, 0.0]]), method, **options)
    unit = 2.0 ** np.floor(np.log2(size))
    if "noise_std" in options:
        options["noise_std"] *= unit
    extreme = solve(MatrixGame.from_table([[0.0, 2 * unit], [unit, 0.0]]), method, **options)
    np.testing.assert_allclose(extreme.nu.weights, plain.nu.weights, rtol=1e-9)
    assert extreme.value == pytest.approx(plain.value * unit, rel=1e-9)
    assert extreme.gap == pytest.approx(plain.gap * unit, rel=1e-6, abs=1e-12 * unit)


def test_extreme_payoffs_on_sets():
    interval = Box(-1.0, 1.0)
    game = ContinuousGame(lambda x, y: 2e200 * (x[0] - y[0]) ** 2, interval, interval)
    solution = solve(game, num_steps=200, num_atoms=4)
    assert solution.value == pytest.approx(2e200, rel=1e-3)
    assert 0 <= solution.gap <= 1e-3 * 2e200


# Payoffs of plain Python.

PAYOFFS = """
import math
import numpy as np
import tensorflow as tf

def branch(x, y):
    if x[0] > y[0]:
        return x[0] - y[0]
    return y[0] - x[0]

def by_numpy(x, y):
    return np.abs(x[0] - y[0])

def by_math(x, y):
    return math.fabs(float(x[0]) - float(y[0]))

def arrays(x, y):
    return np.max(np.abs(x - y))

def tensors(x, y):
    return abs(float(x[0].numpy()) - float(y[0].numpy()))

def mixed(x, y):
    if y[0] > 0:
        return tf.abs(x[0] - y[0])
    return tf.abs(y[0] - x[0])

def smooth(x, y):
    return (x[0] - y[0]) ** 2

def rounded(x, y):
    return tf.round(x[0] * 3) * y[0]

def sign(x, y):
    return tf.sign(x[0] - y[0])

def drawn(x, y):
    return np.random.rand()

def hidden(x, y):
    return tf.random.normal([], dtype=x.dtype) * x[0] * y[0]

def half_hidden(x, y):
    return x[0] * y[0] * (1 + 0.5 * tf.random.normal([], dtype=x.dtype))

def hidden_of_python(x, y):
    return float(np.random.rand()) * float(x[0] * y[0])

def domain(x, y):
    return math.sqrt(x[0]) * y[0]

def two(x, y):
    return np.array([x[0], y[0]])

def text(x, y):
    return "much"
"""


@pytest.fixture(scope="module")
def payoffs(tmp_path_factory):
    path = tmp_path_factory.mktemp("payoffs") / "payoffs.py"
    path.write_text(PAYOFFS)
    return path


@pytest.mark.parametrize("name", ["branch", "by_numpy", "by_math", "arrays", "tensors", "mixed"])
def test_a_payoff_of_plain_python_goes_to_the_grid(payoffs, name):
    """|x - y| on [-1, 1]: y runs to both ends, x stays between them; value 1. Seen: a traceback."""
    game = load.load_game(f"{payoffs}:{name}", "-1:1", "-1:1")
    assert set(methods_of(game).values()) == {"grid"}
    assert "Python" in game.not_differentiable
    assert game.pointwise == ("tensors" if name == "tensors" else "numbers")
    if name in ("tensors", "mixed"):
        return  # a payoff's tensors take a while
    solution = solve(game, num_steps=300)
    assert solution.value == pytest.approx(1, abs=5e-2)


def test_a_payoff_without_a_gradient_goes_to_the_grid(payoffs):
    for name, says in (("rounded", "no gradient"), ("sign", "its gradient in x is 0")):
        game = load.load_game(f"{payoffs}:{name}", "-1:1", "-1:1")
        assert says in game.not_differentiable
        assert next(iter(methods_of(game))) == "grid_mirror_prox"
        with pytest.raises(InputError, match=f"no method for {name} .*{says}"):
            solve(game, "gda")
    smooth = load.load_game(f"{payoffs}:smooth", "-1:1", "-1:1")
    assert smooth.not_differentiable == ""
    assert next(iter(methods_of(smooth))) == "conic_mirror_prox"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("drawn", "no function"),
        # At the centre of the sets these are 0.
        ("hidden", "no function"),
        ("half_hidden", "no function"),
        ("hidden_of_python", "no function"),
        ("domain", "failed at x=.*math domain error"),
        ("two", r"one number .* got shape \(2,\)"),
        ("text", "one number|failed"),
    ],
)
def test_a_payoff_that_is_none_says_why(payoffs, name, says):
    with pytest.raises(InputError, match=says):
        load.load_game(f"{payoffs}:{name}", "-1:1", "-1:1")


def test_plain_python_in_many_dimensions_has_a_coarse_grid():
    game = ContinuousGame(lambda x, y: float(np.dot(x, x) - y[0]), Box([0] * 3, 1.0), Box(0.0, 1.0))
    assert game.pointwise == "numbers"
    assert tuple(game.few_points) == (5, 100)
    with pytest.raises(InputError, match="by gradients"):
        game.against("theta", np.zeros((1, 3)), Measure(np.zeros((1, 1)), np.ones(1)))
    np.testing.assert_allclose(game.matrix(np.ones((2, 3)), [[0.0], [1.0]]), [[3, 2], [3, 2]])


# The command.


@pytest.fixture
def run(monkeypatch, capsys):
    """The command's main in this process: (exit code, stdout, stderr)."""

    def call(*arguments):
        values = flags.FlagValues()
        command.define_flags(values)
        monkeypatch.setattr(flags, "FLAGS", values)
        with pytest.raises(SystemExit) as exited:
            cli.main(command.main, ["solve", *map(str, arguments)])
        return exited.value.code, *capsys.readouterr()

    return call


def test_a_file_is_solved_and_an_edit_is_noticed(run, tmp_path, monkeypatch):
    """Seen: a solution was called finished although the game's file was edited."""
    monkeypatch.setattr(report, "draw_gaps", lambda *_: None)
    monkeypatch.setattr(report, "draw_strategies", lambda *_: None)
    game, out = tmp_path / "g [1].csv", tmp_path / "out [1]"
    game.write_text("0,2\n1,0\n")
    arguments = (f"--game={game}", "--method=lp", f"--out={out}")
    assert run(*arguments)[0] == 0
    solution = json.loads((out / "solution.json").read_text())
    assert solution["value"] == pytest.approx(2 / 3)
    assert solution["method"] == "lp"
    assert "finished" in run(*arguments)[1]
    game.write_text("0.0, 2.0\n1.0, 0.0\n")  # the same game
    assert "finished" in run(*arguments)[1]
    game.write_text("0,2\n1,1\n")
    code, _, err = run(*arguments)
    assert code == 2
    assert "changed since" in err


def test_an_edited_payoff_is_noticed(payoffs, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def f(x, y):\n    return x[0] * y[0]\n")
    before = load.fingerprint(load.load_game(f"{path}:f", "0:1", "0:1"), f"{path}:f")
    assert load.fingerprint(load.load_game(f"{path}:f", "0:1", "0:1"), f"{path}:f") == before
    other_set = load.load_game(f"{path}:f", "0:2", "0:1")
    assert load.fingerprint(other_set, f"{path}:f") != before
    path.write_text("def f(x, y):\n    return x[0] * y[0] * 2\n")
    assert load.fingerprint(load.load_game(f"{path}:f", "0:1", "0:1"), f"{path}:f") != before


def test_a_tolerance_that_is_missed_has_a_code_of_its_own(run, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "draw_gaps", lambda *_: None)
    monkeypatch.setattr(report, "draw_strategies", lambda *_: None)
    game = tmp_path / "g.json"
    game.write_text("[[0, 2], [1, 0]]")
    missed = (f"--game={game}", f"--out={tmp_path / 'a'}", "--num_steps=3", "--tolerance=1e-9")
    for _ in range(2):  # the second time it is finished, and still misses it
        code, out, _ = run(*missed)
        assert code == cli.MISSED == 4
        assert "is above --tolerance=1e-09" in out
    reached = (f"--game={game}", f"--out={tmp_path / 'b'}", "--method=lp", "--tolerance=1e-9")
    assert run(*reached)[0] == 0


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("--step_size=1", "not read by lp"),
        ("--num_steps=3", "not read by lp"),
        ("--x_set=0:1", "is a table"),
    ],
)
def test_flags_that_a_method_does_not_read(run, tmp_path, flag, says):
    (tmp_path / "g.csv").write_text("0,2\n1,0\n")
    code, _, err = run(
        f"--game={tmp_path / 'g.csv'}", "--method=lp", f"--out={tmp_path / 'o'}", flag
    )
    assert code == 2
    assert says in err


def test_pictures_of_names_that_are_no_formulas(tmp_path):
    game = MatrixGame.from_table(
        [[0.0, 2.0], [1.0, 0.0]], name="$x$ {\\bad", row_labels=["$a", "日本"],
        column_labels=["$\\frac", "b$"],
    )  # fmt: skip
    solution = lp.solve(game)
    report.draw_gaps(tmp_path / "g.png", game, {"lp": solution})
    report.draw_strategies(tmp_path / "s.png", game, solution)
    assert (tmp_path / "s.png").stat().st_size > 1000
