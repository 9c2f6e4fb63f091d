"""Data sources: batches as functions of (seed, mini-batch index)."""
