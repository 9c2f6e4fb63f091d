"""A headless Chromium that is installed on the machine, driven by playwright."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator

__all__ = ["find", "launch", "missing"]

_MISSING = "no Chromium on PATH; install one: make browser (as root)"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find() -> str | None:
    """The path of a Chromium, if there is one."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


def missing() -> str:
    """Why tests that need a browser are skipped, if so; with NEED_BROWSER=1 they fail instead."""
    return "" if find() or os.environ.get("NEED_BROWSER") == "1" else _MISSING


@contextlib.contextmanager
def launch(**options) -> Iterator:
    """A playwright browser context with a fresh profile; `options` go to playwright.

    While it is open no other event loop runs in this thread.
    """
    from playwright.sync_api import sync_playwright

    assert find(), _MISSING
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=find(), headless=True, args=_ARGUMENTS, **options
        )
        try:
            yield context
        finally:
            context.close()
