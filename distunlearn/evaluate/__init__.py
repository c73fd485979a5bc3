"""What a trained network says of scans, and how far off it is: models, predictions, errors, which scans are looked at."""
