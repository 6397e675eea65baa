"""Sums of squares: closures that return residuals, scipy's least_squares and solvers of our own."""
