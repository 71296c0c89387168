"""Which cleaning follows a job's networks: the one that is asked for, else TotalSegmentator's of the task."""

from __future__ import annotations

from ..nnunet.postprocessing_rules import read_postprocessing
from ..records.cleaning import Cleaning
from .resolved_job import ResolvedJob

NO_CLEANING, OF_TASKS = "none", ("body", "vertebrae_pp")
# Of the catalog, and how TotalSegmentator cleans them.
CLEANED_TASKS = {
    "body": "body",
    "body_fast": "body",
    "vertebrae_pp": "vertebrae_pp",
    "vertebrae_pp_refined": "vertebrae_pp_refined",
}


def cleaning_of(resolved: ResolvedJob) -> Cleaning | None:
    """How the labels of a job are cleaned; None: not at all.

    Raises:
        ModelFolderError: The file of rules that the job names cannot be read.
    """
    named = resolved.job.postprocessing
    if named is None:
        kind = CLEANED_TASKS.get(resolved.task.name) if resolved.task is not None else None
        return None if kind is None else Cleaning(kind)
    if named == NO_CLEANING:
        return None
    return Cleaning(named) if named in OF_TASKS else Cleaning("rules", read_postprocessing(named))
