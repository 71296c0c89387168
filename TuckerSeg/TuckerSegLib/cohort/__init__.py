"""Many images in one run: which they are, what became of each, one table of all, and a summary to look at."""
