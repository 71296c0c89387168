"""What is asked for from files to file, for the command line and for the worker alike."""
