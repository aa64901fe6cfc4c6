"""Runners: where submitted calls wait their turn and run, and what holds a flow run's calls together. Decides no states."""
