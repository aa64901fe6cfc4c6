"""Worker processes: the program that runs the bodies of tasks for another process. Keeps no record of its own."""
