"""Limits within one process: slots that it has leased are handed out to its runs, in order. Knows no store by name."""
