"""Inputs as strangers bring them, each small and generated, with its right value."""
