"""scipy.optimize.minimize: the table of its methods, its arguments, its quirks."""
