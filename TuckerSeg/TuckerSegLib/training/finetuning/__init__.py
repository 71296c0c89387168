"""Labeled fine-tuning of a compressed network, as the Tucker paper did it. Knows networks and arrays, no command line.

nnU-Net's own training (patches, augmentation, loss) without mirroring, for a few epochs with AdamW. nnU-Net's trainers
are never looked up. ``fine_tune`` in ``loop.py`` is the entrance, ``read_raw_dataset`` and ``prepare_dataset`` lead
there.
"""
