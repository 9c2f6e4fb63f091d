"""One file per experiment, each with a get_config(); see configs/common.py."""

from pathlib import Path

__all__ = ["CONFIGS", "address", "builtin", "names"]

# The experiments of the commands that are told a data set, not a config: data set -> module.
CONFIGS = {
    "cifar10": "configs.cifar10_mp",
    "fashion_mnist": "configs.fashion_mnist_mp",
    "gaussians25": "configs.gaussians25_mp",
    "gaussians25_unbalanced": "configs.gaussians25_unbalanced",
    "gaussians8": "configs.gaussians8_mp",
    "lsun": "configs.lsun_mp",
    "mnist": "configs.mnist_mp",
    "stacked_mnist": "configs.stacked_mnist_mp",
    "swissroll": "configs.swissroll_mp",
}


def names() -> list[str]:
    """The built-in experiments, which `--config=NAME` means in any folder."""
    files = Path(__file__).parent.glob("*_*.py")
    return sorted(p.stem for p in files if p.stem.endswith(("_md", "_mp", "_r3", "_unbalanced")))


def builtin(name: str) -> Path | None:
    """The built-in file configs/NAME.py; None if there is none."""
    there = {path.stem: path for path in Path(__file__).parent.glob("[!_]*.py")}
    return there.get(name)


def address(dataset: str, variant: str = "") -> str:
    """FILE.py:VARIANT of a key of CONFIGS; of one network for each player, without a variant."""
    file = Path(__file__).with_name(CONFIGS[dataset].rpartition(".")[2] + ".py")
    return f"{file}:{variant or 'pure'}"
