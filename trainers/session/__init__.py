"""A run being trained."""
