"""What passes between parts and processes and into files: frozen dataclasses, and JSON of them."""
