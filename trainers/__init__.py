"""Training, evaluation and comparison: everything with files, flags and devices."""
