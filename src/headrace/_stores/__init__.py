"""Stores: where runs are kept. A store writes rows and reads records; it never decides what a run does next."""
