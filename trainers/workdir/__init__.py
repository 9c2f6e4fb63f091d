"""Every file of a run, its name, how it is read."""
