"""Where a run comes from: versions, code and its changes, hardware, command, config.

provenance.json describes the run's first session; `sessions` lists each, the resumed ones too.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tensorflow as tf

from tf_mixed_nash import __version__, rng
from trainers.system import user_files
from trainers.system.files import write_json

__all__ = ["FILE", "code", "correct", "describe", "record", "versions"]

FILE = "provenance.json"

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("tensorflow", "keras", "tensorflow-probability", "numpy", "ml_dtypes")
# Of the text of a diff; a longer one is cut and says so.
_MAX_DIFF = 2**20
# What may be another in every session of a run.
_OF_SESSIONS = ("time", "command", "versions", "hardware", "draws", "compile", "tensor_float_32")
# What of the environment changes numbers.
_ENVIRONMENT = ("TF_", "XLA_", "CUDA_", "NVIDIA_", "OMP_", "OPENBLAS_")
_NOT_TENSORFLOW = ("TF_CLI_", "TF_VAR_", "TF_PLUGIN_")  # Terraform's


def describe(config: Mapping[str, Any]) -> dict[str, Any]:
    """This process as the origin of a run of `config` (resolved)."""
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "executable": sys.executable,
        "seed": config["seed"],
        "draws": rng.LAW,
        "config": config,
        "versions": versions(),
        "code": {**code(), **_difference()},
        "hardware": _hardware(),
        "tensor_float_32": _tensor_float_32(),
        "environment": {
            k: v
            for k, v in sorted(os.environ.items())
            if k.startswith(_ENVIRONMENT) and not k.startswith(_NOT_TENSORFLOW)
        },
    }


def record(
    workdir: Path,
    config: Mapping[str, Any],
    resumed_from: int,
    compile: Mapping[str, str],
    files: Mapping[str, str] = MappingProxyType({}),
    more: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Writes provenance.json, or adds this session to it.

    Args:
      workdir: of the run.
      config: resolved.
      resumed_from: the mini-batch at which this session begins.
      compile: how its steps are compiled, and why: asked, way, reason.
      files: path -> text of the user's, see `user_files.texts`.
      more: of the run's beginning; of its first session alone.
    """
    path = workdir / FILE
    now = {**describe(config), **_user_files(files), "compile": dict(compile), **more}
    first: dict[str, Any] = now
    try:
        before = json.loads(path.read_text())
        sessions = before["sessions"]
        first = before if resumed_from else now
    except (OSError, ValueError, KeyError, TypeError):
        sessions = []  # the first session, or the file was lost
    session = {k: now[k] for k in _OF_SESSIONS}
    session |= {"commit": now["code"]["commit"], "dirty": now["code"]["dirty"]}
    edited = {
        path: facts
        for path, facts in now.get("user_files", {}).items()
        if facts != first.get("user_files", {}).get(path)
    }
    if edited:
        session["edited_files"] = edited
    write_json(path, {**first, "sessions": [*sessions, {**session, "from_step": resumed_from}]})


def correct(workdir: Path, compile: Mapping[str, str]) -> None:
    """Says of the session that goes on how its steps are compiled after all.

    Args:
      workdir: of the run.
      compile: as of `record`.
    """
    path = workdir / FILE
    try:
        facts = json.loads(path.read_text())
        facts["sessions"][-1]["compile"] = dict(compile)
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return  # the file was lost since
    if len(facts["sessions"]) == 1:
        facts["compile"] = dict(compile)
    write_json(path, facts)


def _user_files(files: Mapping[str, str]) -> dict[str, Any]:
    """The text of the user's files, where there are any."""
    found = {
        path: {"sha256": user_files.sha256_of(text), "text": text[:_MAX_DIFF]}
        for path, text in files.items()
    }
    return {"user_files": found} if found else {}


def versions() -> dict[str, str]:
    """Of Python and of the packages that compute."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **found}


@functools.cache
def code() -> Mapping[str, Any]:
    """`commit` of this code and `dirty`, whether files differ from it.

    Outside a checkout both are None, and `version` is that of the distribution.
    """
    commit = _git("rev-parse", "HEAD") if _is_checkout() else None
    if commit is None:
        return {"commit": None, "dirty": None, "version": __version__}
    return {"commit": commit, "dirty": bool(_git("diff", "--name-only", "HEAD") or _untracked())}


def _is_checkout() -> bool:
    """Whether this code is a checkout itself, not installed somewhere below a user's own."""
    top = _git("rev-parse", "--show-toplevel")
    return bool(top) and Path(top).resolve() == _ROOT


def _untracked() -> list[str]:
    """Files that are not in the checkout and that Python would import."""
    return (_git("ls-files", "--others", "--exclude-standard", "--", "*.py") or "").splitlines()


def _difference() -> dict[str, Any]:
    """What differs from the commit: `diff`, its SHA-256, and the names of untracked files."""
    if not code()["dirty"]:
        return {}
    diff = _git("diff", "HEAD", "--binary") or ""
    return {
        "diff": diff[:_MAX_DIFF],
        "diff_is_cut": len(diff) > _MAX_DIFF,
        "diff_sha256": hashlib.sha256(diff.encode()).hexdigest(),
        "untracked": _untracked(),
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return done.stdout.rstrip() if done.returncode == 0 else None


def _hardware() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "gpus": [_gpu(d) for d in tf.config.list_physical_devices("GPU")],
    }


def _tensor_float_32() -> bool:
    """Whether products of float32 numbers may be of their first 11 bits, as on newer GPUs."""
    allowed = tf.config.experimental.tensor_float_32_execution_enabled()
    # CUDA's own switch, which overrides TensorFlow's.
    forbidden = os.environ.get("NVIDIA_TF32_OVERRIDE") == "0"
    return allowed and not forbidden and bool(tf.config.list_physical_devices("GPU"))


def _gpu(device: Any) -> str:
    details = tf.config.experimental.get_device_details(device)
    return details.get("device_name", device.name)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "unknown")
