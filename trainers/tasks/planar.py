"""The planar task: the paper's synthetic data, MLPs, scorecards against exact densities."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tf_mixed_nash import rng
from tf_mixed_nash.ahead import of_batch
from tf_mixed_nash.models import mlp
from tf_mixed_nash.strategies.mixed import MixedStrategy, seed_rows
from tf_mixed_nash.types import Pair
from trainers.system.files import save_arrays
from trainers.tasks import pictures, tables, user_models
from trainers.tasks.base import NO_STRATEGIES, SEED, Sampler, Task, atoms_of
from trainers.tasks.data import synthetic
from trainers.tasks.kinds import PlanarCard, PlanarSpec
from trainers.tasks.tables import Column

__all__ = ["COLUMNS", "UNBALANCED", "PlanarFeed", "PlanarTask", "score_samplers"]

_PICTURE_SAMPLES = 2_500
_FEW = 3  # panels of a row that leave room for enlarged ones
_LISTED = 12  # modes of an atom, in a terminal
_REAL = "real_data"
# Of tables, by scorecard key.
COLUMNS = {
    "modes_captured": Column("modes", 1, of="num_modes"),
    "high_quality_3sigma": Column("HQ 3 sigma", 3, "HQ 3s"),
    "high_quality_4sigma": Column("HQ 4 sigma", 3, "HQ 4s"),
    "reverse_kl": Column("reverse KL", 4, "rev. KL"),
    "std_ratio": Column("std ratio", 2),
    "mean_bias_sigma": Column("bias / sigma", 2, "bias/s"),
    "wasserstein2": Column("W2", 3),
    "law_distance": Column("law distance", 4, "law"),
    "principal_std_log": Column("log principal std", 3, "log std"),
    "bridge_mass": Column("bridges", 4),
}
# And of data whose modes are not equal.
UNBALANCED = {
    "mode_kl": Column("KL(data || model)", 4, "mode KL"),
    "rarest_mode_mass": Column("rarest mode", 5, "rarest"),
}


class PlanarFeed:
    """Draws in the graph; see `feeds.Feed`. Nothing is passed in, nothing waits."""

    signature = ()
    waited = 0.0

    def __init__(self, data: synthetic.PlanarData, seed: int, batch_size: int, dtype):
        self._data, self._size, self._dtype = data, batch_size, dtype
        self.key = rng.stream(seed, "data")

    def with_key(self, key):
        """The same feed with the draws of another run, whose `key` this is."""
        other = copy.copy(self)
        other.key = key
        return other

    def limit(self, start, end):
        """See `feeds.Feed.limit`."""
        return end

    def block(self, start, end):
        """See `feeds.Feed.block`."""
        return ()

    def batch_at(self, block, m):
        """See `feeds.Feed.batch_at`."""

        def sample(m):
            return self._data.sample(rng.fold_in(self.key, m), self._size, self._dtype)

        return of_batch(sample, m)

    def close(self):
        """See `feeds.Feed.close`."""


class PlanarTask(Task):
    """See `tasks.Task`. There is nothing to read, and every draw is a function of the seed.

    Args:
      spec: what it is made from.

    Attributes:
      data: the real distribution.
    """

    num_classes, is_image = 0, False

    def __init__(self, spec: PlanarSpec):
        self.spec, self.name = spec, spec.dataset
        self.data = synthetic.make(self.name)
        balanced = getattr(self.data, "masses", None) is None
        self.columns = COLUMNS if balanced else {**COLUMNS, **UNBALANCED}

    def networks(self, salt=""):
        spec = self.spec

        def make(name, input_dim, output_dim, hidden_units, own):
            return mlp(
                input_dim,
                output_dim,
                hidden_units,
                spec.activation,
                rng.python_seed(rng.stream(spec.seed, f"init/{name}{salt}")),
                spec.precision,
                name,
                penalized=name == "discriminator",
                **own,
            )

        def perceptrons():
            units = Pair(*spec.hidden_units)
            return Pair(
                make("generator", spec.latent_dim, 2, units.theta, spec.start),
                make("discriminator", 2 * spec.packing, 1, units.w, spec.fourier),
            )

        return user_models.chosen(spec, salt, perceptrons, (2,))

    def feed(self, dtype):
        return PlanarFeed(self.data, self.spec.seed, self.spec.batch_size, dtype)

    def batches(self, stream, num, size, dtype):
        key = rng.stream(self.spec.seed, stream)
        return lambda m: self.data.sample(rng.fold_in(key, m), size, dtype)

    def held_out(self, stream, num, dtype):
        return self.data.sample(rng.stream(self.spec.seed, stream), num, dtype)

    def draw_step(self, path, title, sample, atoms=None):
        """See `tasks.Task.draw_step`: a scatter plot, with a colour for each atom."""
        seeds = seed_rows(0, _PICTURE_SAMPLES)
        colours = {} if atoms is None else {title: atoms(seeds)}
        rows = [[(title, sample(seeds))]]
        window, modes = self.data.window, self._modes()
        pictures.scatter(path, self._real(), rows, window, atoms=colours, modes=modes)

    def draw_published(self, folder, strategies, samplers):
        """See `tasks.Task.draw_published`: published.png, a panel for each strategy.

        Points have the colour of their atom, where a measure has several.
        """
        seeds = seed_rows(0, _PICTURE_SAMPLES)
        panels = {name: draw(seeds) for name, draw in samplers.items()}
        known = {name: atoms_of(strategies, name, seeds) for name in samplers}
        path = pictures.scatter(
            folder / "published.png",
            self._real(),
            [list(panels.items())],
            self.data.window,
            atoms={name: found[0] for name, found in known.items() if found},
            modes=self._modes(),
        )
        save_arrays(folder / "final.npz", panels)
        return path

    def draw_panels(self, path, rows):
        """See `tasks.Task.draw_panels`: scatter plots; of few, with an enlarged mode."""
        modes = self._modes() if sum(map(len, rows)) <= _FEW else None
        pictures.scatter(path, self._real(), rows, self.data.window, size=2.6, modes=modes)

    def score(self, samplers, strategies=NO_STRATEGIES):
        return score_samplers(samplers, self.data, self.spec.card, strategies)

    def format_table(self, scores, published=None):
        """See `tasks.Task.format_table`; of measures of several atoms, what each covers."""
        text = tables.terminal(scores, self.columns, published)
        widths = _width_lines(scores.get("by_mode", {}), published)
        return "\n".join([text, *widths, *_atom_lines(scores["strategies"])])

    def export_metadata(self):
        plot = {"window": list(self.data.window)}
        modes = getattr(self.data, "modes", None)  # the roll has none
        if modes is None:
            return {"plot": plot}
        return {"plot": {**plot, "modes": modes.tolist(), "sigma": float(self.data.sigma)}}

    def _modes(self) -> pictures.Modes | None:
        modes = getattr(self.data, "modes", None)  # the roll has none
        return None if modes is None else pictures.Modes(modes, self.data.sigma)

    def _real(self):
        key = rng.stream(self.spec.seed, "picture")
        return self.data.sample(key, _PICTURE_SAMPLES).numpy()


def _width_lines(
    by_mode: Mapping[str, Mapping[str, Sequence[float]]], published: str | None
) -> Iterator[str]:
    """The widths of the narrowest and the widest mode of the published answer, and real data's."""
    for name in (published, _REAL) if published else ():
        each = by_mode.get(name, {})
        columns = (each.get(k, ()) for k in ("narrowest", "widest", "radius_ks"))
        modes = [*zip(*columns, strict=True)]
        if known := [mode for mode in modes if not math.isnan(mode[0])]:
            narrow, wide, ks = zip(*known, strict=True)
            lost = len(modes) - len(known)
            of = f", {lost} modes with too few samples" if lost else ""
            label = "real data" if name == _REAL else name
            yield (
                f" {label}".ljust(12) + f"widths of its modes {min(narrow):.2f} to {max(wide):.2f} "
                f"of the data's, radius KS to {max(ks):.2f}{of}"
            )


def _atom_lines(cards: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, card in cards.items():
        for j, own in enumerate(card.get("atoms", ())):
            some = [str(i) for i, count in enumerate(own["modes"]) if count]
            modes = f"modes {' '.join(some)}" if some else "no mode"
            modes = f"{len(some)} modes" if len(some) > _LISTED else modes
            yield (
                f" {name} {j}".ljust(12) + f"weight {own['weight']:.3f}, HQ 3s "
                f"{tables.number(own['high_quality_3sigma'], 3)}, {modes}"
            )
        if "atoms" in card:
            value = tables.number(card["specialisation"], 3)
            yield f" {name}".ljust(12) + f"specialisation {value}"


def score_samplers(
    samplers: Mapping[str, Sampler],
    data: synthetic.PlanarData,
    card: PlanarCard,
    strategies: Mapping[str, MixedStrategy] = NO_STRATEGIES,
) -> dict[str, Any]:
    """`strategies` (the scorecard of each sampler), `real_data_ceiling`, and both `by_mode`.

    With `card.replicates` each scorecard has "intervals" as well, (low, high) of its numbers.

    Args:
      samplers: name -> sampler.
      data: the real distribution.
      card: how many samples of each are scored.
      strategies: see `tasks.Task.score`.
    """
    # Here, because it loads POT, which --dry_run need not wait for.
    from tf_mixed_nash.metrics.scorecard import (
        scorecard,
        scorecard_intervals,
        scores_by_atom,
        scores_by_mode,
    )

    def fresh(name):
        return data.sample(rng.stream(SEED, name), num).numpy()

    num, capture = card.num_samples, card.capture_samples
    real, reference = fresh("real"), fresh("reference")
    seeds = seed_rows(SEED, num)

    def judged(samples):
        scores: dict[str, Any] = scorecard(samples, reference, data, capture)
        if card.replicates:
            options = {"replicates": card.replicates, "capture_samples": capture}
            scores["intervals"] = scorecard_intervals(samples, reference, data, **options)
        return scores

    by_mode = {}

    def card_of(name, draw):
        samples = draw(seeds)
        scores = judged(samples)
        by_mode[name] = scores_by_mode(samples, data)
        if atoms := atoms_of(strategies, name, seeds):
            scores |= scores_by_atom(samples, *atoms, data)
        return scores

    return {
        "strategies": {name: card_of(name, draw) for name, draw in samplers.items()},
        "real_data_ceiling": judged(real),
        "by_mode": {**by_mode, _REAL: scores_by_mode(real, data)},
    }
