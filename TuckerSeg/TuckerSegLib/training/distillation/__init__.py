"""Label-free repair: a compressed network learns its original's outputs on crops of unlabeled volumes.

``settings.py`` has the settings and the record of a repair, ``examples.py`` the crops, ``loss.py`` the loss, and
``loop.py`` the training loop.
"""
