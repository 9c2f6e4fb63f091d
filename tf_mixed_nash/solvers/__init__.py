"""Solvers of games; each answer comes with its gap and how it was found."""
