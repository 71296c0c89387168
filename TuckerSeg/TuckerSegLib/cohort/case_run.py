"""One case of a cohort, from its image to its files and its record: in this process, or on another computer."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import DiskFullError, ImageError, OutOfMemoryError, OutputError, TuckerSegError
from ..jobs.warm_runs import Runs
from ..models.resolved_job import resolve
from ..monitor import Monitor
from ..outputs import output_files, planned_outputs, written_paths
from ..outputs.extras import extra_paths
from ..records.job import Job
from ..text_files import make_folder
from .case_record import (
    DONE,
    FAILED,
    CaseRecord,
    FileStamp,
    digest_of,
    has_same_input,
    is_whole,
    read_record,
    record_path,
    stamp_of_output,
    stamps_of,
    write_record,
    written_ns,
)
from .cases import Case


@dataclass(frozen=True)
class CasePlan:
    """What is to be done with a case.

    Attributes:
        case: The image, and what its files are called.
        job: Model and settings; no images and no outputs.
        folder: Of the cohort's results.
        types: Of the files that are written, see ``outputs.TYPES``.
        split: One file per structure, in a folder per case.
        settings_key: Of the model and the settings.
        replaces_ns: When the record was written that counts no more, as the case is to be done anew; None: each counts.
    """

    case: Case
    job: Job
    folder: str
    types: tuple[str, ...]
    split: bool
    settings_key: str
    replaces_ns: int | None = None

    def whole_job(self) -> Job:
        """The job with its image and its files."""
        case = self.case
        outputs = planned_outputs(str(Path(self.folder, case.name)), self.types, self.split)
        return replace(
            self.job,
            images=case.images,
            output=None,
            outputs=outputs,
            series=case.series or self.job.series,
            timepoint=self.job.timepoint if case.timepoint is None else case.timepoint,
        )


def standing_record(plan: CasePlan) -> CaseRecord | None:
    """The record of a case that is done and whole: the same input, model and settings, and every file as written."""
    path = record_path(plan.folder, plan.case.name)
    if plan.replaces_ns is not None and plan.replaces_ns == written_ns(path):
        return None
    record = read_record(path)
    if record is None or record.state != DONE or record.settings_key != plan.settings_key:
        return None
    if record.series != plan.whole_job().series or not has_same_input(record, plan.case.images):
        return None
    return record if is_whole(plan.folder, record) else None


def run_case(plan: CasePlan, runs: Runs, monitor: Monitor) -> CaseRecord:
    """Do a case; what is done and whole is not done again. The record is written last.

    Raises:
        Cancelled: The monitor said so.
        TuckerSegError: What is wrong is not the case alone: the model, the device, a full disk.
        Exception: What nobody foresaw; see :func:`failure`.
    """
    standing = standing_record(plan)
    if standing is not None:
        return standing
    started = time.perf_counter()
    try:
        record = _run(plan, runs, monitor, started)
    except TuckerSegError as error:
        if not is_of_case(error):
            raise
        return failure(plan, error, time.perf_counter() - started)
    write_record(plan.folder, record)
    return record


def is_of_case(error: Exception) -> bool:
    """Whether other cases may do well all the same, and this one would fail again."""
    return isinstance(error, (ImageError, OutputError)) and not isinstance(error, DiskFullError)


def is_of_cohort(error: Exception) -> bool:
    """Whether every other case would fail in the same way."""
    return isinstance(error, TuckerSegError) and not is_of_case(error) and not isinstance(error, OutOfMemoryError)


def failure(plan: CasePlan, error: BaseException, seconds: float = 0.0, host: str | None = None) -> CaseRecord:
    """The record of a case that failed, which is written, too.

    Args:
        error: Why.
        seconds: How long it took.
        host: Who tried; None: this process.
    """
    words = str(error) if isinstance(error, TuckerSegError) else f"Unexpected {type(error).__name__}: {error}."
    record = _record(plan, FAILED, words, seconds, host)
    with contextlib.suppress(OSError):
        record = replace(record, inputs=stamps_of(plan.case.images))
    make_folder(Path(plan.folder))
    write_record(plan.folder, record)
    return record


def _run(plan: CasePlan, runs: Runs, monitor: Monitor, started: float) -> CaseRecord:
    job = plan.whole_job()
    make_folder(Path(plan.folder))
    stamps, digest = _identity(plan.case.images)
    result = runs.segment_file(resolve(job), monitor)
    if stamps_of(plan.case.images) != stamps:
        raise ImageError(f"{plan.case.images[0]}: changed while it was read. Run it again when it is complete.")
    written = [*written_paths(output_files(job)), *extra_paths(job)]
    outputs = tuple(stamp_of_output(plan.folder, path) for path in written)
    record = _record(plan, DONE, "", time.perf_counter() - started, None)
    return replace(record, inputs=stamps, input_sha256=digest, outputs=outputs, statistics=result.statistics)


def _identity(images: tuple[str, ...]) -> tuple[tuple[FileStamp, ...], str]:
    try:
        return stamps_of(images), digest_of(images)
    except OSError as error:
        raise ImageError(f"{error.filename or images[0]}: cannot be read ({error.strerror or error}).") from error


def _record(plan: CasePlan, state: str, message: str, seconds: float, host: str | None) -> CaseRecord:
    return CaseRecord(
        name=plan.case.name,
        state=state,
        settings_key=plan.settings_key,
        images=plan.case.images,
        series=plan.whole_job().series,
        inputs=(),
        input_sha256="",
        outputs=(),
        message=message,
        seconds=seconds,
        host=host or f"{socket.gethostname()}:{os.getpid()}",
    )
