"""The application's side of the worker process."""
