"""What there is to choose from, for `--help` and `--list`; what words of other libraries mean.

Free of TensorFlow, as all that answers before it loads.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Mapping
from typing import Any

import configs
from trainers.system import names

__all__ = ["KEYS", "SYNONYMS", "defaults", "everything", "help_text", "meant"]

# The twenty that matter, in the order in which one asks for them.
KEYS: Mapping[str, str] = {
    "algorithm": "how the players move",
    "dataset": "what is learned; with data.path a table or images of your own",
    "data.path": "an .npy, .npz, .csv, LMDB or a folder",
    "num_batches": "length of the run, in mini-batches",
    "batch_size": "m, data of a mini-batch",
    "seed": "of everything random",
    "step_size": "gamma; generator.step_size and discriminator.step_size for one player",
    "step_size_schedule": "constant, linear, cosine(warmup=0.05), ... (docs/modern.md)",
    "temperature": "epsilon of the Langevin noise sqrt(2 gamma epsilon P)",
    "num_inner_steps": "K, Langevin steps of an outer step",
    "generator.num_particles": "n', generators of the mixed strategy",
    "discriminator_steps": "outer steps of the discriminator per one of the generator",
    "game.objective": "the loss of both players",
    "game.gradient_penalty": "weight of (|grad D| - 1)^2; also game.r1, game.r2",
    "model.latent_dim": "D, numbers that a generator reads",
    "model.hidden_units": "widths of the perceptrons; model.generator=FILE.py:NAME for your own",
    "mixture.num_components": "M, snapshots of the published mixture",
    "ema_decay": "of the moving average of the generator, per mini-batch",
    "publish": "the answer that is exported: mixture, last or ema",
    "picture_every": "mini-batches between pictures (film=true for a film); score_every",
}

# What other libraries call it: Keras, PyTorch and its GAN repositories, StyleGAN's options. A word
# of several meanings names them all, the likeliest first.
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("lr", "learning_rate", "alpha", "gamma"), ("step_size",)),
    **dict.fromkeys(("g_lr", "lr_g", "glr", "generator_lr"), ("generator.step_size",)),
    **dict.fromkeys(("d_lr", "lr_d", "dlr", "discriminator_lr"), ("discriminator.step_size",)),
    **dict.fromkeys(("lr_scheduler", "scheduler", "lr_schedule"), ("step_size_schedule",)),
    **dict.fromkeys(
        ("epochs", "num_epochs", "n_epochs", "max_epochs", "steps", "num_steps", "max_steps"),
        ("num_batches",),
    ),
    **dict.fromkeys(("iterations", "num_iterations", "n_iter", "total_steps"), ("num_batches",)),
    **dict.fromkeys(("batch", "bs", "minibatch_size", "mini_batch_size"), ("batch_size",)),
    **dict.fromkeys(
        ("latent_dim", "z_dim", "zdim", "nz", "noise_dim", "latent_size"), ("model.latent_dim",)
    ),
    **dict.fromkeys(
        ("hidden_units", "hidden_dim", "hidden_size", "units", "layers"), ("model.hidden_units",)
    ),
    **dict.fromkeys(("width", "channels", "ngf", "filters"), ("model.width",)),
    **dict.fromkeys(("optimizer", "optimiser", "optim", "solver", "method"), ("algorithm",)),
    **dict.fromkeys(("loss", "loss_fn", "criterion", "objective"), ("game.objective",)),
    **dict.fromkeys(
        ("gradient_penalty", "gp", "gp_weight", "lambda_gp", "gp_lambda"),
        ("game.gradient_penalty",),
    ),
    **dict.fromkeys(("r1", "r1_gamma"), ("game.r1",)),
    **dict.fromkeys(("r2", "r2_gamma"), ("game.r2",)),
    **dict.fromkeys(("weight_clip", "clip_value", "clip"), ("game.weight_clip",)),
    **dict.fromkeys(
        ("n_critic", "critic_steps", "d_steps", "num_d_steps", "discriminator_extra_steps"),
        ("discriminator_steps",),
    ),
    **dict.fromkeys(("alternating", "alternate", "by_turns"), ("alternated",)),
    **dict.fromkeys(("ema", "ema_beta", "ema_rate", "ema_momentum"), ("ema_decay",)),
    **dict.fromkeys(("beta_1", "beta1", "b1", "momentum"), ("decay_1",)),
    **dict.fromkeys(("beta_2", "beta2", "b2"), ("decay_2",)),
    **dict.fromkeys(("beta",), ("damping",)),
    **dict.fromkeys(("rho",), ("rms_decay",)),
    **dict.fromkeys(("eps", "epsilon"), ("stability", "temperature")),
    **dict.fromkeys(("noise", "noise_scale"), ("temperature",)),
    **dict.fromkeys(("inner_steps", "langevin_steps"), ("num_inner_steps",)),
    **dict.fromkeys(
        ("num_generators", "n_generators", "num_particles", "ensemble_size"),
        ("generator.num_particles",),
    ),
    **dict.fromkeys(("num_components", "snapshots", "num_snapshots"), ("mixture.num_components",)),
    **dict.fromkeys(("random_seed", "random_state", "manual_seed"), ("seed",)),
    **dict.fromkeys(("data", "data_dir", "dataroot", "data_path", "path"), ("data.path",)),
    **dict.fromkeys(("image_size", "img_size", "resolution"), ("image.size",)),
    **dict.fromkeys(("num_classes", "n_classes", "nclass"), ("image.num_classes",)),
    **dict.fromkeys(("conditional", "cond"), ("model.conditional",)),
    **dict.fromkeys(("dtype", "mixed_precision", "amp", "fp16"), ("precision",)),
    **dict.fromkeys(("distribute", "device", "devices", "gpus"), ("strategy",)),
    **dict.fromkeys(("jit", "jit_compile", "xla"), ("compile",)),
    **dict.fromkeys(("workers", "num_workers"), ("data.num_threads",)),
    **dict.fromkeys(("save_every", "save_freq", "checkpoint_freq"), ("checkpoint_every",)),
    **dict.fromkeys(("eval_every", "eval_freq", "metrics_every"), ("score_every",)),
    **dict.fromkeys(("log_freq", "log_interval", "print_every"), ("log_every",)),
    **dict.fromkeys(("grad_accum", "accumulation_steps"), ("accumulate",)),
    **dict.fromkeys(("pac", "pacgan"), ("game.packing",)),
}
_WIDTH = 99


def meant(key: str, keys: Iterable[str]) -> str:
    """The key that a word means: a synonym of other libraries, or else the nearest one.

    Args:
      key: what was given; of one player, generator.WORD or discriminator.WORD.
      keys: that there are.

    Returns:
      "", or the key; of a word of several meanings "A or B".
    """
    known = list(keys)
    group, dot, word = key.rpartition(".")
    word = word.lower().replace("-", "_")
    found = []
    for synonym in SYNONYMS.get(word, ()):
        own = f"{group}{dot}{synonym.rpartition('.')[2]}" if group else synonym
        found += [own] if own in known else [synonym] if synonym in known else []
    if found and key not in known:
        return " or ".join(found)
    last = [name for name in known if name.rpartition(".")[2] == word]
    if len(last) == 1:  # the group was left out
        return last[0]
    return next(iter(difflib.get_close_matches(key, known, n=1)), "")


@functools.cache
def defaults() -> Mapping[str, str]:
    """The default of each of KEYS, as text: those of one generator on the 8 Gaussians."""
    # Here, for every command reads flags, and who samples or serves needs no experiment.
    from configs import common, tuned

    config = common.planar("gaussians8", "mirror_prox_gan").to_dict()
    own, found = tuned.defaults(config["algorithm"]), {}
    for key in KEYS:
        value: Any = config
        for part in key.split("."):
            value = value[part]
        tuned_key = key.rpartition(".")[2]
        if value is None and tuned_key in own:
            value = own[tuned_key]
        found[key] = "-" if value is None else _text(value)
    return found


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def help_text() -> str:
    """Algorithms, data sets, networks, objectives and KEYS with defaults; for `--help`."""
    known = names.algorithms()
    wide = max(map(len, [*known, *names.datasets()])) + 2
    at = max(map(len, KEYS)) + 2
    lines = ["Algorithms, --config.algorithm=NAME:"]
    lines += [f"  {name:<{wide}}{title} ({source})" for name, (title, source) in known.items()]
    lines += ["", "Data sets, --config.dataset=NAME (each has its experiment; see --list):"]
    lines += [f"  {name:<{wide}}{what}" for name, what in names.datasets().items()]
    lines += ["", "Networks, --config.model.family=NAME, of images (model.width: how wide):"]
    for name, family in names.families().items():
        pixels = ", ".join(map(str, family.sizes))
        lines += [f"  {name:<{wide}}{family.title}; {pixels} pixels"]
        lines += [f"  {'':<{wide}}{', '.join(family.models)}"]
    lines += [
        "  Those functions of tf_mixed_nash.models make the same from Python, plain Keras models.",
        "  Data in the plane and tables have perceptrons: model.hidden_units, mlp(...).model.",
        "  Networks of your own, of any data: model.generator and .discriminator=FILE.py:NAME.",
    ]
    lines += ["", "Objectives, --config.game.objective=NAME:"]
    lines += _wrapped([*names.objectives(), "FILE.py:NAME"])
    lines += ["", "The keys that matter, --config.KEY=VALUE (all of them: --list):"]
    lines += [f"  {key:<{at}}{defaults()[key]:<17}{what}" for key, what in KEYS.items()]
    lines += [
        "",
        "Step size, temperature and K are the algorithm's own where no flag gives them; shown are",
        "those of mirror_prox_gan with one generator.",
    ]
    return "\n".join(lines)


def everything(flat: Mapping[str, Any]) -> str:
    """`help_text`, the built-in experiments, and every key of a config with its value.

    Args:
      flat: of `cli.flatten`.
    """
    lines = [help_text(), "", "Experiments, --config=NAME (or a FILE.py of your own):"]
    lines += _wrapped(configs.names())
    lines += ["  behind a name: :pure, one generator; :tiny, two steps in seconds"]
    at = max(map(len, flat)) + 2
    kind, other, experiment = "data in the plane and tables", "images", "cifar10_mp"
    if "image.size" in flat:
        kind, other, experiment = other, kind, "gaussians8_mp"
    lines += ["", f"Every key of {kind}; those of {other}: --config={experiment} --list"]
    lines += ["(configs/common.py says what each is; -: the algorithm's own)"]
    lines += [f"  {key:<{at}}{'-' if v is None else _text(v)}" for key, v in sorted(flat.items())]
    return "\n".join(lines)


def _wrapped(words: Iterable[str]) -> list[str]:
    lines, line = [], ""
    for word in words:
        if line and len(line) + len(word) + 2 > _WIDTH:
            lines.append(line + ",")
            line = ""
        line += f", {word}" if line else f"  {word}"
    return [*lines, line]
