"""Runners: where submitted calls wait their turn and run, and what holds those of a flow run together. Decide no states."""
