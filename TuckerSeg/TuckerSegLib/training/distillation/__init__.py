"""Label-free repair: a compressed network learns its original's outputs on crops of unlabeled volumes.

``settings.py`` is what is asked and what came of it, ``loss.py`` what is minimized, ``distillation.py`` the loop.
"""
