"""Checks the packages that a Python has, by importing them in a process of its own."""
