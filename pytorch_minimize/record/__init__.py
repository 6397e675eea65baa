"""What is kept of a run: seconds and counts, history, checkpoints, log lines."""
