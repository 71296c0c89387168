"""Curves, errors per layer and pictures that people look at."""
