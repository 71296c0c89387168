"""Records that pass between parts and processes and into files: frozen dataclasses, and their JSON."""
