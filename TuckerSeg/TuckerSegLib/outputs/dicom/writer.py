"""Writes the DICOM objects of a run: reads what they refer to once, and gives each type a series of its own."""

from __future__ import annotations

import importlib.util
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import DependencyError, OutputError
from ...files.atomic_writes import written_whole
from ...image.reading import is_dicom
from ...models.resolved_job import ResolvedJob
from ...printable import excerpt
from ...records.job import Job, OutputFile
from ...segmentation.segment import SegmentationResult

if TYPE_CHECKING:
    import pydicom

PACKAGES = ("pydicom", "highdicom")


def check_dicom_output(output: OutputFile, job: Job) -> None:
    """Look before a run whether a DICOM object can be made of its result.

    Raises:
        DependencyError: A package is not here.
        OutputError: The image is not DICOM, or a report would have no SEG to refer to.
    """
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise DependencyError(
                f"Writing DICOM objects ({output.type}) needs the Python package {package}.",
                shell="Install it with: pip install tuckerseg[dicom]",
            )
    if len(job.images) != 1 or (os.path.exists(job.images[0]) and not is_dicom(job.images[0])):
        raise OutputError(
            f"{output.path}: a DICOM object ({output.type}) refers to the DICOM slices that it was made of, and "
            f"{', '.join(job.images) or 'nothing'} is no DICOM. Write NIfTI or NRRD, or segment the DICOM series."
        )
    if output.type == "sr" and not any(other.type == "seg" and not other.split for other in job.outputs):
        raise OutputError(
            f"{output.path}: a report refers to the DICOM SEG of the same run. Ask for both.",
            shell="That is --output-type seg,sr.",
        )


class DicomWriter:
    """Writes objects of one result.

    Args:
        result: Labels and what made them.
        resolved: The job, whose image is DICOM.

    Raises:
        ImageError: The slices cannot be read any more.
        OutputError: Nothing was found: a DICOM object without a structure is none.
    """

    def __init__(self, result: SegmentationResult, resolved: ResolvedJob):
        from highdicom import UID

        from .coding import coded_structures
        from .source import source_of

        self._result = result
        self._structures = coded_structures(result)
        if not self._structures:
            raise OutputError("Nothing was found in the image, and a DICOM object without a structure is none.")
        self._source = source_of(result, resolved)
        self._series = {name: UID() for name in ("seg", "rtstruct", "sr")}
        self._written: Counter[str] = Counter()
        self._segmentation: pydicom.Dataset | None = None

    def write(self, kind: str, path: Path, value: int | None = None) -> None:
        """Write an object of all structures, or of one.

        Args:
            kind: ``seg``, ``rtstruct`` or ``sr``; a report after the SEG that it refers to.
            path: The file.
            value: Label of the one structure.

        Raises:
            OutputError: It cannot be written.
        """
        self._written[kind] += 1
        try:
            dataset = self._made(kind, value)
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # what is not as DICOM says it is
            first = self._source.slices[0].file.source
            raise OutputError(
                f"{path}: no DICOM object ({kind}) can be made that refers to these slices, as a field of {first} is "
                f"missing or not as it should be ({excerpt(str(error))}). Write NIfTI or NRRD, or export the "
                "series again."
            ) from error
        with written_whole(path) as beside:
            dataset.save_as(beside, enforce_file_format=True)

    def _made(self, kind: str, value: int | None) -> pydicom.Dataset:
        chosen = [each for each in self._structures if value is None or each.value == value]
        words = self._source, self._result, chosen, self._series[kind], self._written[kind]
        if kind == "seg":
            from .seg import segmentation_of

            self._segmentation = segmentation_of(*words)
            return self._segmentation
        if kind == "rtstruct":
            from .rtstruct import structure_set_of

            return structure_set_of(*words)
        from .report import report_of

        return report_of(*words, self._segmentation)
