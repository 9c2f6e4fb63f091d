"""For all tests: TensorFlow's log, and what a run of them left out."""

import gc
import os
import signal
import time
from collections import Counter

import pytest

from tests import forkserver, repetitions

# Before TensorFlow is imported: no advice about the CPU on every run.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# As every command leaves them (trainers/system/environment.py): a later command of this process
# else would not have the variables of the fork server, and start in earnest.
os.environ.update(MPLBACKEND="Agg", KERAS_BACKEND="tensorflow")
# Tests leave nothing in the user's cache, and find nothing there.
os.environ.setdefault("TF_MIXED_NASH_XLA_CACHE", "off")

_DESELECTED = pytest.StashKey[int]()


@pytest.fixture
def without_determinism():
    """TensorFlow may draw without a seed, whatever other tests of this process have asked for."""
    from tensorflow.python.framework import config

    before = config.is_op_determinism_enabled()
    config.disable_op_determinism()
    yield
    if before:
        config.enable_op_determinism()


@pytest.fixture(autouse=True)
def _environment_is_left_as_it_was():
    """What TensorFlow reads when it starts: else every later command starts anew, for seconds."""
    before = forkserver.early(os.environ)
    yield
    changed = dict(forkserver.early(os.environ).items() ^ before.items())
    changed.pop("TF_CPP_MIN_LOG_LEVEL", None)  # no command gets it; a library for ONNX sets it
    assert not changed, "a test has changed the environment of those that follow"


def pytest_configure(config):
    config.stash[_DESELECTED] = 0
    # Shells start what is in the background with SIGINT ignored, and children inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config, items):
    """Marks as slow what repeats other cases; what is named and is no test is an error."""
    for item in items:
        if repetitions.is_repetition(item.nodeid):
            item.add_marker(pytest.mark.slow)
    # Whole files only: who asks for one case has not collected the others.
    whole = not any("::" in argument for argument in config.args)
    if whole and (missing := repetitions.unknown(item.nodeid for item in items)):
        raise pytest.UsageError(f"tests/repetitions.py names no test: {', '.join(missing)}")


class _Garbage:
    """TensorFlow's million objects are not searched for garbage again and again.

    Neither are the graphs that modules leave behind: runs and published versions ask for a whole
    search, which takes longer after every test.
    """

    LONG = 0.1  # seconds of a search

    def __init__(self):
        self._began = self._took = 0.0
        gc.callbacks.append(self._look)

    def _look(self, phase, info):
        if info["generation"] == 2:
            if phase == "start":
                self._began = time.perf_counter()
            else:
                self._took = time.perf_counter() - self._began

    def set_aside(self):
        """What is alive is not looked at again."""
        gc.collect()
        gc.freeze()
        self._took = 0.0

    @property
    def is_much(self):
        return self._took > self.LONG


_garbage = _Garbage()


def pytest_collection_finish():
    _garbage.set_aside()
    gc.set_threshold(20_000, 10, 10)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    yield
    # Between modules, whose fixtures are gone.
    if nextitem is not None and nextitem.path != item.path and _garbage.is_much:
        _garbage.set_aside()


def pytest_deselected(items):
    if items:
        items[0].config.stash[_DESELECTED] += len(items)


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):  # a process of pytest-xdist
        session.config.workeroutput["deselected"] = session.config.stash[_DESELECTED]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Every process of pytest-xdist has left out the same."""
    count = getattr(node, "workeroutput", {}).get("deselected", 0)
    node.config.stash[_DESELECTED] = max(node.config.stash[_DESELECTED], count)


def pytest_terminal_summary(terminalreporter, config):
    """What was not run, why, and how to run it."""
    lines = []
    if (count := config.stash[_DESELECTED]) and config.option.markexpr == "not slow":
        lines.append(f"{count} slow tests: make test-slow")
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    lines += [f"{number} skipped: {reason}" for reason, number in reasons.most_common()]
    if lines:
        terminalreporter.section("not run")
        for line in lines:
            terminalreporter.write_line(line)
