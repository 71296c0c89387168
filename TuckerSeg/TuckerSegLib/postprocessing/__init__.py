"""Makes labels of features or logits, merges those of several networks, and removes small blobs."""
