"""The user's closure: how it is run, and how its backward() calls are heard."""
