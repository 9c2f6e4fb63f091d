"""Games solved exactly, each with its certificate."""
