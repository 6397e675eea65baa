"""What is minimised: flat x -> value, gradient, curvature; the best point; the counts."""
