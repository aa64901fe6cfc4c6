"""What happens to a run, told to a journal and asked of a host. Never a loop, thread, file or socket of its own."""
