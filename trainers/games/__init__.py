"""A game from a user's file, and the report of its solution."""
