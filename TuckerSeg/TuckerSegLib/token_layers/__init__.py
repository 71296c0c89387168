"""Layers that choose tokens and complete sequences of them, after TokenSparse; they know no networks and no files."""
