"""What comes out: distributions over generators, and their weights."""
