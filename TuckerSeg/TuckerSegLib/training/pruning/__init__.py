"""Pruning while training: a network loses channels that come to resemble others while it learns.

The method is Sauron's (Valverde et al., Neurocomputing 2024, arXiv:2209.13590), written from its description.
``likeness.py`` has the regularizer and the distances, ``thresholds.py`` when a layer's threshold rises, ``cutting.py``
takes channels out of a network and its optimizer's memory, ``loop.py`` trains.
"""
