"""Readers and headers, one file per format."""
