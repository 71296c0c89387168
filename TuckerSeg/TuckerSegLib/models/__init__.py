"""Models as they are on disk, compressed, calibrated, fitted and fine-tuned."""
