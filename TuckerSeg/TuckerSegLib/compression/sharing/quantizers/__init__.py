"""Quantizers: numbers to a codebook of few, and each number to one of them. Know numpy alone, no layers.

Each module has ``fit(values, importance, settings)``, which gives a :class:`.codebook.Codebook`, and
``assign(values, importance, codebook, settings)``, which gives the index of every value. ``TAKES_FEEDBACK`` says
whether a value may take on errors of others before it is assigned.
"""

from . import cws, ecsq, pws, uq

QUANTIZERS = {"cws": cws, "pws": pws, "uq": uq, "ecsq": ecsq}
