"""What a trained network can do and what its features give away: predictions, errors, probes."""
