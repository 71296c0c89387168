"""Nodes of the MRML scene: volumes, segmentations, sequences, tables."""
