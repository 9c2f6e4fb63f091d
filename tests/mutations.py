"""The mutations of `tests.mutate`: one wrong sign, factor, index or anchor each."""

from __future__ import annotations

from typing import NamedTuple


class Mutation(NamedTuple):
    """One edit, and the test files of which at least one test must fail on it.

    Attributes:
      file: path from the project's root.
      old: text that occurs once in the file.
      new: what replaces it.
      tests: paths of test files.
    """

    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def _of(file: str, tests: tuple[str, ...], *edits: tuple[str, str]) -> list[Mutation]:
    return [Mutation(file, old, new, tests) for old, new in edits]


def _tests(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/tf_mixed_nash/test_{name}.py" for name in names)


MUTATIONS: list[Mutation] = [
    *_of(
        "tf_mixed_nash/samplers.py",
        _tests("samplers"),
        ("tf.sqrt(2.0 * gamma * eps * P)", "tf.sqrt(gamma * eps * P)"),
        ("tf.sqrt(2.0 * gamma * eps * P)", "tf.sqrt(2.0 * gamma * eps)"),
        ("displacement = -gamma * P * g", "displacement = gamma * P * g"),
        ("V = decay * V + (1.0 - decay) * g**2", "V = decay * V + g**2"),
        ("return 1.0 / (tf.sqrt(V) + stability), V", "return 1.0 / tf.sqrt(V + stability), V"),
        ("move = 2.0 * displacement - state.previous", "move = displacement - state.previous"),
        ("first / correction_1", "first"),
    ),
    *_of(
        "tf_mixed_nash/prox.py",
        _tests("prox", "algorithms"),
        ("z_bar = (1.0 - beta) * z_bar + beta * z", "z_bar = beta * z_bar + (1.0 - beta) * z"),
        ("return (1.0 - beta) * anchor + beta * z_bar", "return z_bar"),
        (
            "oracle.field(player, z, opponent, m)\n            return",
            "oracle.field(player, z, opponent, m + 1)\n            return",
        ),
        ("field_and_noise(z, m + k)", "field_and_noise(z, m)"),
    ),
    *_of(
        "tf_mixed_nash/schemes.py",
        _tests("schemes", "algorithms"),
        ("against=w.z if alternated else s.w.z", "against=w.z"),
        ("s.of(player).tilde,", "at.of(player),"),
        ("m + half(t),\n            alternated", "m,\n            alternated"),
        ("(1.0 + kappa, -kappa)", "(1.0 + kappa, kappa)"),
        (
            "theta.z + kappa * (theta.z - theta.previous)",
            "theta.z - kappa * (theta.z - theta.previous)",
        ),
        (
            'theta, theta_logs = extrapolate_and_update("theta", against=w.z)',
            'theta, theta_logs = extrapolate_and_update("theta", against=s.w.z)',
        ),
        ("return PastIterate(z, state, g),", "return PastIterate(z, state, 0.0 * g),"),
    ),
    *_of(
        "tf_mixed_nash/games.py",
        _tests("games"),
        ('loss = value if player == "theta" else -value', "loss = value"),
        ("u * real + (1.0 - u) * fake", "real"),
        ("(norm - 1.0) ** 2", "norm**2"),
        ("self.regularizers.r1 * 0.5", "self.regularizers.r1"),
        (
            "loss += a * self.objective(f(real), f(fake)).generator",
            "loss += self.objective(f(real), f(fake)).generator",
        ),
        ("penalty += a * self._gradient_penalty", "penalty += self._gradient_penalty"),
    ),
    *_of(
        "tf_mixed_nash/strategies.py",
        _tests("strategies"),
        ("index + 1, tf.int64", "index + 2, tf.int64"),
        ("tf.where(index < num_components, index, draw)", "draw"),
    ),
    *_of(
        "tf_mixed_nash/metrics/scorecard.py",
        ("tests/tf_mixed_nash/metrics/test_scorecard.py",),
        ("positive * np.log(positive * len(p))", "positive * np.log(positive)"),
    ),
]
