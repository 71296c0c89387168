"""nnU-Net's world: model folders, plans, labels, normalization, network construction.

nnunetv2 is the authority and is imported inside the functions that need it, never patched.
"""
