"""Build, test and measure on a machine with a card, in one go; see ``docs/gpu.md``."""
