"""Renders the files that deploy a published model with TensorFlow Serving.

    python -m export.tfserving --model=BASE/NAME [--output=DIR] [--stable=V] [--canary=V]

Writes models.config (version policy, labels `stable` and `canary`), batching_parameters.txt (sizes
that the model's warm-up covers), monitoring.config, compose.yaml and kubernetes.yaml.
`export.serve` reads the first three as well, if --base_path names the folder on this machine. By
default `canary` is the newest version and `stable` the one before it, or the same if there is but
one.
"""

from __future__ import annotations

import re
import textwrap
from importlib import metadata, resources
from pathlib import Path
from string import Template

from absl import flags

from export import publish
from export.warmup import BATCH_SIZES
from tf_mixed_nash.errors import InputError
from trainers.system import cli
from trainers.system.files import write_atomically

__all__ = ["FILES", "render"]

FILES = (
    "models.config",
    "batching_parameters.txt",
    "monitoring.config",
    "compose.yaml",
    "kubernetes.yaml",
)


def render(
    model: Path,
    base_path: str | None = None,
    stable: int | None = None,
    canary: int | None = None,
    image: str | None = None,
    threads: int = 2,
) -> dict[str, str]:
    """The files for a model, by name.

    Args:
      model: its folder; its name is the model's.
      base_path: where the server finds it; None for /models/NAME, as in the containers.
      stable: the version labelled so; None for the one before canary.
      canary: the version labelled so; None for the newest.
      image: of the container; None for tensorflow/serving with the version of the installed
        tensorflow-serving-api.
      threads: cores of the server.

    Raises:
      InputError: if there is no version, or a label names one that is not there.
    """
    there = publish.versions(model)
    if not there:
        publish.find_version(model)  # says why
        raise InputError(f"{model} is one version. Give the model's folder, {model.parent}.")
    canary = there[-1] if canary is None else canary
    stable = max((v for v in there if v < canary), default=canary) if stable is None else stable
    for label, version in (("stable", stable), ("canary", canary)):
        if version not in there:
            raise InputError(
                f"--{label}={version} is not published. Versions: {', '.join(map(str, there))}."
            )
    name = model.name
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise InputError(
            f"The model's name {name!r} would need quoting in these files. Use letters, digits, "
            "dots, - and _."
        )
    values = {
        "name": name,
        "service": re.sub(r"[^a-z0-9-]", "-", name.lower()).strip("-") or "model",
        "base_path": base_path or f"/models/{name}",
        "host_path": str(model.resolve()),
        "versions": "\n".join(f"        versions: {v}" for v in sorted({stable, canary})),
        "stable": stable,
        "canary": canary,
        "max_batch_size": BATCH_SIZES[-1],
        "allowed": "\n".join(f"allowed_batch_sizes: {size}" for size in BATCH_SIZES),
        "threads": threads,
        "image": image or f"tensorflow/serving:{metadata.version('tensorflow-serving-api')}",
    }
    folder = resources.files("export.tfserving") / "templates"
    files = {}
    for file in FILES:
        # kubernetes.yaml holds the first three.
        inner = {re.sub(r"\..*", "", f): textwrap.indent(text.rstrip(), "    ")
                 for f, text in files.items()}  # fmt: skip
        inner = {
            "models_config": inner.get("models", ""),
            "batching_parameters": inner.get("batching_parameters", ""),
            "monitoring_config": inner.get("monitoring", ""),
        }
        files[file] = Template((folder / file).read_text()).substitute(values, **inner)
    return files


def _define_flags() -> None:
    flags.DEFINE_string("model", None, "The model's folder BASE/NAME.")
    flags.DEFINE_string("output", "", "The folder to write; by default BASE/NAME-tfserving.")
    flags.DEFINE_string("base_path", "", "Where the server finds it; by default /models/NAME.")
    flags.DEFINE_integer("stable", None, "The version with the label stable.")
    flags.DEFINE_integer("canary", None, "The version with the label canary.")
    flags.DEFINE_string("image", "", "The container image of TensorFlow Serving.")
    flags.DEFINE_integer("threads", 2, "Cores of the server.", lower_bound=1)
    flags.mark_flag_as_required("model")


def _run() -> None:
    f = flags.FLAGS
    model = Path(f.model)
    output = Path(f.output) if f.output else model.parent / f"{model.name}-tfserving"
    publish.check_writable(output)
    files = render(model, f.base_path or None, f.stable, f.canary, f.image or None, f.threads)
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            write_atomically(output / name, lambda path, text=text: path.write_text(text))
    except OSError as error:
        raise InputError(f"{output} could not be written: {error}.") from None
    for name in files:
        print(output / name)
    print(f"Start it: docker compose -f {output / 'compose.yaml'} up -d")
    print("Not yet verified against tensorflow_model_server.")


if __name__ == "__main__":
    _define_flags()
    cli.main(_run)
