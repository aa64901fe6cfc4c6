"""How runs are seen from outside: log records and spans. Never decides what a run does, never writes to a store."""
