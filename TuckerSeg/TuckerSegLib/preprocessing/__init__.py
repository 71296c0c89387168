"""An image to what a network sees, and the way back for its labels."""
