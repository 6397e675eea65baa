"""Solvers of our own: arithmetic on flat vectors that asks for trial points and is told values."""
