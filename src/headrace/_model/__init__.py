"""Facts and arithmetic about runs. Never a clock, a loop, a file or randomness: callers hand those in as values."""
