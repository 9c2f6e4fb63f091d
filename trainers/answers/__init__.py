"""What a run answers: read back, weighed, published."""
