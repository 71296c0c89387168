"""Features to labels on the output grid, and what is done to labels after."""
