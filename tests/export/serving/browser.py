"""A headless Chromium that is installed on the machine, driven by playwright."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator

__all__ = ["MISSING", "find", "launch"]

MISSING = "no Chromium on PATH; install one: apt-get install chromium"
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


@contextlib.contextmanager
def launch(**options) -> Iterator:
    """A playwright browser context with a fresh profile; `options` go to playwright.

    While it is open no other event loop runs in this thread.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=find(), headless=True, args=_ARGUMENTS, **options
        )
        try:
            yield context
        finally:
            context.close()
