"""Errors that are the user's to fix."""

__all__ = ["InputError"]


class InputError(ValueError):
    """Bad input: what happened, what was expected, how to fix it. Commands exit with 2."""
