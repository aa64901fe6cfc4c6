"""Runners: where submitted calls wait their turn and run, and what holds a flow run's together. Decides no states."""
