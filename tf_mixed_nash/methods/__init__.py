"""How a player moves; reads like the paper."""
