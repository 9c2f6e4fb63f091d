"""TensorFlow without the log lines that its C++ side prints before logging can be set up."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from trainers.system import xla_cache

__all__ = ["hidden", "import_tensorflow"]

# Set beside the level by us, so that a child process does not take it for the user's.
_MARK = "TF_MIXED_NASH_QUIET"


def _import(dense, num_batches):
    xla_cache.keep(dense, num_batches)
    # Keras would import all of scikit-learn, for wrappers of its estimators: 60 MB, and a second.
    with hidden("sklearn"):
        import tensorflow as tf
    return tf


@contextlib.contextmanager
def hidden(*packages: str) -> Iterator[None]:
    """Packages that are not imported yet seem not to be installed."""
    names = [name for name in packages if name not in sys.modules]
    for name in names:
        sys.modules[name] = None  # type: ignore[assignment]  # Python: "not installed"
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


def import_tensorflow(dense: bool = False, num_batches: int = 0):
    """Imports TensorFlow and finds its devices with stderr held back; returns the module.

    The text is shown if the import fails. Users who set TF_CPP_MIN_LOG_LEVEL=0 see everything, then
    and later; a higher level is a wish for fewer lines, and shows no more than none would.
    """
    level = os.environ.get("TF_CPP_MIN_LOG_LEVEL", "").strip()
    asked = level.isdecimal() and int(level) == 0 and _MARK not in os.environ
    if "tensorflow" in sys.modules or asked:
        return _import(dense, num_batches)
    # 3, because oneDNN logs a harmless note as an error; real errors are Python exceptions.
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ[_MARK] = "1"
    try:
        kept = os.dup(2)
    except OSError:  # there is no stderr to hold back
        return _import(dense, num_batches)
    if sys.stderr:
        sys.stderr.flush()
    # In memory: a container may have no folder for temporary files.
    with open(os.memfd_create("stderr"), "w+b") as held:
        os.dup2(held.fileno(), 2)
        try:
            tf = _import(dense, num_batches)
            # The first look at the devices prints more lines of the same kind.
            tf.config.list_physical_devices()
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
    return tf
