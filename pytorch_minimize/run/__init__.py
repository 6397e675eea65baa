"""One run in torch's terms: step, limits, endings, the user's callback, what is left."""
