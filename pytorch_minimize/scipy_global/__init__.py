"""scipy's global optimisers: their table, wrappers, callbacks, local searches."""
