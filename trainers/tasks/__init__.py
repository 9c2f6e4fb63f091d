"""What is learned: data, networks, scores, pictures."""
