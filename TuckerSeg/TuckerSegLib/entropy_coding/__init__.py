"""Whole numbers in fewer bytes, and back; nothing of what is read is trusted. Knows numpy and the standard library."""
