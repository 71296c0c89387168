"""Packages that the worker needs, installed by the user's wish."""
