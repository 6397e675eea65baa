"""Where a solver may look: bounds, groups that state them, constraints, feasibility."""
