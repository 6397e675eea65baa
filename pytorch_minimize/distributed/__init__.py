"""One run in many processes: a leader that decides, followers that evaluate with it."""
