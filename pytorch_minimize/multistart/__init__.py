"""Runs from many starts, one after another or all at once in rounds of one batched evaluation."""
