"""What a cohort is to do before it does it: which cases are done and whole, and which have their turn."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .. import catalog
from ..cache import Cache
from ..errors import ImageError, OutputError
from ..image.dicom import list_series
from ..image.reading import is_dicom
from ..models.resolved_job import resolve
from ..models.task import bring_all_networks
from ..monitor import Monitor
from ..records.job import Job
from ..text_files import check_writable, make_folder
from .case_record import CaseRecord, record_path, written_ns
from .case_run import CasePlan, standing_record
from .cases import Case, named_apart
from .settings_key import key_if_known, settings_key
from .table import CSV_NAME

LONGEST_SERIES_NAME = 20


@dataclass(frozen=True)
class CohortPlan:
    """All cases of a cohort, in their order.

    Attributes:
        plans: Of every case.
        standing: Records of those that are done and whole, by name.
        folder: Of the results.
    """

    plans: tuple[CasePlan, ...]
    standing: dict[str, CaseRecord]
    folder: str

    @property
    def waiting(self) -> list[CasePlan]:
        """Those that are to be done."""
        return [plan for plan in self.plans if plan.case.name not in self.standing]


def plan_cohort(
    cases: Sequence[Case],
    job: Job,
    folder: str | os.PathLike,
    types: Sequence[str] = ("nifti",),
    split: bool = False,
    cache: Cache | None = None,
    monitor: Monitor | None = None,
    again: bool = False,
    server: str | None = None,
) -> CohortPlan:
    """Find out what is to be done; looks at the records that are there.

    Args:
        cases: From ``cases_of``.
        job: Model and settings of all.
        folder: For the results; it need not be there yet.
        types, split: Of the files, see ``outputs.planned_outputs``.
        cache: None takes the user's.
        monitor: Hears of the download of networks that are missing; None: nothing is downloaded, and where the model is
            not on this computer, nothing counts as done.
        again: Do what is done and whole, too.
        server: Address of the server that computes; None: this computer, or a cluster.

    Raises:
        OutputError: The files cannot be written there, or are images of the cohort.
        TuckerSegError: The model cannot be read, or a setting is not possible.
    """
    cache, folder = cache or Cache(), str(Path(folder).absolute())
    previous = job.previous_stage and _whole_path(job.previous_stage)
    others = tuple(map(_whole_path, job.ensemble))
    rules = job.postprocessing and _whole_path(job.postprocessing)
    job = replace(job, model=_whole_path(job.model), ensemble=others, previous_stage=previous, postprocessing=rules)
    if server is not None:
        key = settings_key(job, tuple(types), split, cache, server)
    elif monitor is not None:
        bring_all_networks(resolve(job), monitor)
        key = settings_key(job, tuple(types), split, cache)
    else:
        key = key_if_known(job, tuple(types), split, cache)
    plans = tuple(CasePlan(case, job, folder, tuple(types), split, key or "") for case in map(_whole, cases))
    if again:
        written = (written_ns(record_path(folder, plan.case.name)) for plan in plans)
        plans = tuple(replace(plan, replaces_ns=when) for plan, when in zip(plans, written))
    _check_folder(folder, plans)
    if monitor is not None:
        check_writable(make_folder(Path(folder)) / CSV_NAME)
    standing = {}
    if key is not None:
        records = ((plan.case.name, standing_record(plan)) for plan in plans)
        standing = {name: record for name, record in records if record is not None}
    return CohortPlan(plans, standing, folder)


def with_all_series(cases: Sequence[Case], modality: str = "CT") -> list[Case]:
    """Cases with one for each stack of the modality that a DICOM folder, zip or file holds; others stay as they are.

    Captures, localizers and single slices are left out. What cannot be read stays a case, which fails in its turn.
    """
    each_series = []
    for case in cases:
        names = _series_of(case, modality)
        if len(names) < 2:
            each_series.append(case)
        for number, name in enumerate(names if len(names) > 1 else (), 1):
            ending = name if len(name) <= LONGEST_SERIES_NAME else str(number)  # a UID is too long for a name
            each_series.append(replace(case, name=f"{case.name}_{ending}", series=name))
    return named_apart(each_series)


def _series_of(case: Case, modality: str) -> list[str]:
    """Names of the stacks of a modality that a case may be read from; none where there is no choice."""
    if len(case.images) != 1 or case.series is not None:
        return []
    try:
        if not is_dicom(case.images[0]):
            return []
        entries, _ = list_series(case.images[0], modality)
    except (OSError, ImageError):
        return []
    return [entry.name for entry in entries if entry.is_volume and entry.modality == modality]


def _whole_path(model: str) -> str:
    """A model's path as any process finds it; names stay names."""
    return os.path.abspath(model) if catalog.task(model) is None and os.path.exists(model) else model


def _whole(case: Case) -> Case:
    return replace(case, images=tuple(map(os.path.abspath, case.images)))


def _check_folder(folder: str, plans: Sequence[CasePlan]) -> None:
    """Look before the first run whether results can go there, and take the place of no image."""
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise OutputError(f"{folder}: is a file. Name a folder for the results of a cohort.")
    for plan in plans:
        for output in plan.whole_job().outputs:
            if any(os.path.realpath(output.path) == os.path.realpath(image) for image in plan.case.images):
                raise OutputError(
                    f"{output.path} is an image of the cohort. Name another folder for the results than that of the "
                    "images."
                )
