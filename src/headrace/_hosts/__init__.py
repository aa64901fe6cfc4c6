"""Hosts: who a life waits on. They carry the clock, wait and call; never decide what happens to a run."""
