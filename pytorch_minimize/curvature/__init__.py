"""Second derivatives of a closure: products, Hessians, Jacobians, and their checks."""
