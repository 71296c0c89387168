"""Body Part Regression's own network, where its weights are given. Nothing of that program's code is run.

Source: Schuhegger 2021, arXiv:2110.09148; its published model is Zenodo record 5113483.
"""

from .model import BprModel
from .model_folder import read_bpr_model

__all__ = ["BprModel", "read_bpr_model"]
