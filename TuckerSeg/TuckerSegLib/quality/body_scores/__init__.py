"""Where along the body each slice of a CT lies: scores from 0, where the pelvis begins, to 100, where the eyes end.

The scale, the checks made on it and the names of the results are those of Body Part Regression (Schuhegger 2021,
arXiv:2110.09148). :func:`scores_of_labels` reads the scores off a segmentation; ``bpr`` runs that work's own network.
"""

from .document import as_document, slice_rows
from .from_structures import scores_of_labels
from .profile import BodyScores, ScoreScale, clean_scores

__all__ = ["BodyScores", "ScoreScale", "as_document", "clean_scores", "scores_of_labels", "slice_rows"]
