"""What is run: what follows a training, suites of runs."""
