"""The DICOM slices that labels belong to, as pydicom reads them, with labels in the order of their frames."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from ...errors import ImageError, OutputError
from ...image.dicom.header import Slice
from ...image.dicom.slices import source_slices
from ...models.modality import modalities_of
from ...models.resolved_job import ResolvedJob
from ...segmentation.segment import SegmentationResult

# What every object of a study repeats, and some scanners' or de-identified files lack; DICOM lets it be empty
MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
MADE_UP = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")


@dataclass(frozen=True, eq=False)
class Source:
    """Slices and the labels on them.

    Attributes:
        slices: In the order of the stack.
        headers: One per slice, without pixels; frames of one file share theirs.
        labels: (N, rows, columns), in the order of the slices.
    """

    slices: tuple[Slice, ...]
    headers: tuple[pydicom.Dataset, ...]
    labels: np.ndarray

    @property
    def first(self) -> pydicom.Dataset:
        """For what all have in common."""
        return self.headers[0]

    @property
    def is_multi_frame(self) -> bool:
        """Whether the slices are frames of a file."""
        return self.slices[0].file.format.frames > 1

    def by_frame(self) -> tuple[list[pydicom.Dataset], np.ndarray]:
        """Files, and labels in the order of their frames: of frames that are not among the slices there are none.

        Raises:
            OutputError: The slices are frames of several files.
        """
        if not self.is_multi_frame:
            return list(self.headers), self.labels
        if len({id(header) for header in self.headers}) > 1:
            raise OutputError(
                f"{self.slices[0].file.source}: the series is several files of several frames, which a DICOM SEG "
                "cannot refer to together. Write RTSTRUCT, NRRD or NIfTI."
            )
        labels = np.zeros((self.slices[0].file.format.frames, *self.labels.shape[1:]), self.labels.dtype)
        labels[[each.frame for each in self.slices]] = self.labels
        return [self.first], labels


def source_of(result: SegmentationResult, resolved: ResolvedJob) -> Source:
    """Read the headers of the slices that a job's image was made of.

    Raises:
        ImageError: They cannot be read any more, or are others by now.
    """
    job = resolved.job
    found_slices = source_slices(Path(job.images[0]), job.series, modalities_of(resolved)[0])
    labels = found_slices.labels_by_slice(result.labels, result.geometry.matrix)
    if len(labels) != len(found_slices.slices):
        raise ImageError(
            f"{job.images[0]}: {len(labels)} slices were read, and {len(found_slices.slices)} are there now. "
            "Run it again."
        )
    headers: dict[int, pydicom.Dataset] = {}
    for each in found_slices.slices:
        if id(each.file) not in headers:
            headers[id(each.file)] = _header(each, found_slices.distance_mm)
    return Source(found_slices.slices, tuple(headers[id(each.file)] for each in found_slices.slices), labels)


def _header(each: Slice, distance_mm: float) -> pydicom.Dataset:
    """What a file says, and empty what it does not say of patient and study."""
    try:
        with each.file.source.open() as file:
            dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True)
    except (OSError, ValueError, AttributeError, pydicom.errors.InvalidDicomError) as error:
        raise ImageError(f"{each.file.source}: cannot be read ({error}).") from error
    for name in MAY_BE_EMPTY:
        if name not in dataset:
            setattr(dataset, name, "")
    _require(dataset, "SOPClassUID", each, "MediaStorageSOPClassUID")
    _require(dataset, "SOPInstanceUID", each, "MediaStorageSOPInstanceUID")
    _complete(dataset, each)
    if each.file.format.frames == 1 and not dataset.get("SliceThickness"):
        dataset.SliceThickness = pydicom.valuerep.DSfloat(distance_mm, auto_format=True)
    return dataset


def _complete(dataset: pydicom.Dataset, each: Slice) -> None:
    """Make up what some programs take away that make files anonymous, the same for all slices, and warn of it."""
    own = str(each.file.uid or each.file.source.name.removesuffix(each.file.source.file_name))
    missing = [name for name in MADE_UP if not dataset.get(name)]
    for name in missing:
        setattr(dataset, name, pydicom.uid.generate_uid(entropy_srcs=[own, name]))
    if missing:
        warnings.warn(
            f"The DICOM slices have no {', '.join(missing)}; DICOM objects that were written have made-up ones, by "
            "which archives do not find the slices.",
            stacklevel=2,
        )


def _require(dataset: pydicom.Dataset, name: str, each: Slice, in_meta: str | None = None) -> None:
    """Raise ImageError where a file lacks what others refer to it by."""
    if dataset.get(name):
        return
    value: Any = getattr(dataset, "file_meta", {}).get(in_meta) if in_meta else None
    if not value:
        raise ImageError(
            f"{each.file.source}: has no {name}, so no DICOM object can refer to it. Write NRRD or NIfTI, or export "
            "the series again."
        )
    setattr(dataset, name, value)
