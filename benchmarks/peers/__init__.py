"""The same step in other frameworks, for comparison: PyTorch, JAX, and plain Keras."""
