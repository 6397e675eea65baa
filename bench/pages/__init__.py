"""The tables and pictures of README.md and docs/, made from what was measured."""
