"""Agreement of label maps, and the files that they come from."""
