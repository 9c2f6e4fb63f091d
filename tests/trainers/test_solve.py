"""trainers.solve: games from files, solution.json, the report, and bad input."""

import json

import numpy as np
import pytest

from tests.trainers.conftest import command
from tf_mixed_nash.solvers import solve as solvers
from trainers import solve
from trainers.games import load

GAMES = """
import numpy as np
import tensorflow as tf
from tf_mixed_nash import ArrayGame, Box, ContinuousGame

table = [[0.0, 2.0], [1.0, 0.0]]

def from_function():
    return np.array(table)

def payoff(x, y):
    return (x[0] - y[0]) ** 2

def rounded(x, y):
    return tf.round(x[0]) * y[0]

def infinite(x, y):
    return 1.0 / (x[0] - x[0] + 0.0 * y[0])

def vector(x, y):
    return x * y

def holes():
    return [[0.0, float("nan")], [1.0, 0.0]]

def ragged():
    return [[0.0], [1.0, 0.0]]

def nothing():
    return np.zeros((0, 3))

def empty_set():
    return ContinuousGame(payoff, Box(1.0, 1.0), Box(0.0, 1.0))

def steps():
    F = lambda x, y: np.sign(y[None, :, 0] - x[:, None, 0])
    return ArrayGame(F, Box(0.0, 1.0), Box(0.0, 1.0), name="who is higher")

def broken():
    raise RuntimeError("no luck")

def three(x, y, z):
    return x

number = 3.0
"""


@pytest.fixture(scope="module")
def games(tmp_path_factory):
    path = tmp_path_factory.mktemp("games") / "mine.py"
    path.write_text(GAMES)
    return path


def run(*arguments):
    return command("trainers.solve", *arguments)


@pytest.mark.slow
def test_a_table_is_solved_and_reported(games, tmp_path):
    """[[0, 2], [1, 0]]: x mixes (1/3, 2/3), y (2/3, 1/3), value 2/3, by indifference."""
    out = tmp_path / "out"
    arguments = (
        f"--game={games}:table",
        f"--out={out}",
        "--method=mirror_descent,mirror_prox",
        "--num_steps=2000",
    )
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    solution = json.loads((out / "solution.json").read_text())
    assert solution["method"] == "mirror_prox"
    assert solution["value"] == pytest.approx(2 / 3, abs=2e-3)
    assert 0 <= solution["gap"] <= 2e-3
    for side, expected in (("x", [1 / 3, 2 / 3]), ("y", [2 / 3, 1 / 3])):
        weights = np.zeros(2)
        weights[np.array(solution[f"{side}_atoms"], int)[:, 0]] = solution[f"{side}_weights"]
        np.testing.assert_allclose(weights, expected, atol=5e-3)
    report = (out / "report.md").read_text()
    assert report in done.stdout
    assert "mirror_descent" in report
    for picture in ("gap.png", "strategies.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")

    before = (out / "solution.json").stat().st_mtime_ns
    again = run(*arguments)
    assert again.returncode == 0
    assert "finished" in again.stdout
    assert (out / "solution.json").stat().st_mtime_ns == before
    other = run(*arguments, "--seed=1")
    assert other.returncode == 2
    assert "--out" in other.stderr


@pytest.mark.slow  # the solvers are test_particles.py's, the command the examples'
def test_a_payoff_with_sets_is_solved_by_particles(games, tmp_path):
    done = run(
        f"--game={games}:payoff", "--x_set=-1:1", "--y_set=-1:1", f"--out={tmp_path / 'out'}"
    )
    assert done.returncode == 0, done.stderr
    solution = json.loads((tmp_path / "out" / "solution.json").read_text())
    assert solution["value"] == pytest.approx(1.0, abs=1e-2)
    assert solution["gap"] <= 1e-2
    y = np.array(solution["y_atoms"])[:, 0]
    assert np.array(solution["y_weights"])[y > 0].sum() == pytest.approx(0.5, abs=2e-2)
    np.testing.assert_allclose(np.abs(y), 1.0, atol=1e-2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--game={}:table"], "--out"),
        (["--game={}:tables", "--out=O"], "from_function"),
        (["--game=none.py:table", "--out=O"], "no file"),
        (["--game=table", "--out=O"], "FILE.py:NAME"),
        (["--game={}:number", "--out=O"], "no game"),
        (["--game={}:three", "--out=O"], "no game"),
        (["--game={}:broken", "--out=O"], "no luck"),
        (["--game={}:payoff", "--out=O"], "--x_set"),
        (["--game={}:table", "--out=O", "--x_set=0:1"], "payoff"),
        (["--game={}:payoff", "--out=O", "--x_set=-1", "--y_set=0:1"], "lower:upper"),
        (["--game={}:payoff", "--out=O", "--x_set=1:-1", "--y_set=0:1"], "lower < upper"),
        (["--game={}:vector", "--out=O", "--x_set=0:1", "--y_set=0:1"], "one number"),
        (["--game={}:infinite", "--out=O", "--x_set=0:1", "--y_set=0:1"], "not finite"),
        (
            ["--game={}:rounded", "--out=O", "--x_set=0:1", "--y_set=0:1", "--method=gda"],
            "no gradient",
        ),
        (["--game={}:holes", "--out=O"], "finite"),
        (["--game={}:ragged", "--out=O"], "table"),
        (["--game={}:nothing", "--out=O"], "strategy"),
        (["--game={}:empty_set", "--out=O"], "empty"),
        (["--game={}:table", "--out=O", "--method=wfr"], "mirror_prox"),
        (["--game={}:table", "--out=O", "--method=simplex"], "chambolle_pock"),
        (["--game={}:table", "--out=O", "--num_points=3"], "grid_mirror_prox"),
        (["--game={}:table", "--out=O", "--num_steps=0"], "at least 1"),
        (["--game={}:table", "--out=O", "--step_size=-1"], "positive"),
        (["--game={}:table", "--out=O", "--tolerance=nan"], "positive"),
    ],
)
def test_bad_input_exits_2_and_writes_nothing(
    games, tmp_path, monkeypatch, capsys, arguments, says
):
    """In this process, through the command's own main: 24 child processes would take minutes."""
    from absl import flags

    out = tmp_path / "out"
    argv = ["solve", *(a.format(games).replace("--out=O", f"--out={out}") for a in arguments)]
    values = flags.FlagValues()
    solve.define_flags(values)
    monkeypatch.setattr(flags, "FLAGS", values)
    with pytest.raises(SystemExit) as exited:
        solve.cli.main(solve.main, argv)
    assert exited.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert says in message
    assert not (out / "solution.json").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rock_paper_scissors", 0.0),
        ("weighted_rock_paper_scissors", 0.0),
        ("colonel_blotto", 0.0),
        ("matching_pennies_on_the_circle", 0.0),
        ("polynomial", 1.0),
        ("dirac_gan", 0.0),
    ],
)
def test_the_examples_have_the_values_that_they_claim(name, value):
    solution = solvers.solve(load.load_game(f"configs/games.py:{name}"))
    assert solution.gap <= 1e-3
    assert solution.value == pytest.approx(value, abs=1e-3)


def test_every_method_has_a_solver_that_takes_its_flags():
    """Inspected, not run: a flag that a solver does not know would fail only when given."""
    import inspect

    from tf_mixed_nash.solvers import grid, lp, matrix, particles, regret

    modules = {
        "matrix": matrix,
        "grid": grid,
        "particles": particles,
        "regret": regret,
        "lp": lp,
    }
    for kind, names in solve._FLAGS.items():
        known = set(inspect.signature(modules[kind].solve).parameters)
        if kind == "grid":  # hands what it does not know to the solver of its matrix game
            known |= set(inspect.signature(matrix.solve).parameters)
        if kind in ("matrix", "grid", "particles"):
            assert "method" in known, kind
        assert {*names, *(["tolerance"] if kind != "lp" else [])} <= known, kind


def test_a_payoff_in_numpy_is_solved_on_a_grid(games):
    """F = sign(y - x): y plays 1, x does too; value 0. No method needs its gradient."""
    game = load.load_game(f"{games}:steps")
    methods = solvers.methods_of(game)
    assert next(iter(methods)) == "grid_mirror_prox"
    assert set(methods.values()) == {"grid"}
    solution = solvers.solve(game, num_points=20)
    assert solution.value == pytest.approx(0.0, abs=1e-2)
    assert solution.nu.weights[-1] > 0.99
    assert solution.mu.weights[-1] > 0.99
