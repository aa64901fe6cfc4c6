"""What happens to a run, told to a journal and asked of a host. Never a loop, a thread, a file or a socket of its own."""
