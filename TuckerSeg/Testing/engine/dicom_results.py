"""Painted labels of a DICOM series as results, and DICOM SEG read back."""

from __future__ import annotations

from dataclasses import fields as fields_of
from pathlib import Path

import highdicom
import numpy as np

from Testing.unit.dicom_files import save_series, stored_values
from TuckerSegLib.image import Geometry
from TuckerSegLib.records.statistics import RunStatistics, Structure
from TuckerSegLib.segmentation.segment import SegmentationResult

NAMES = {0: "background", 1: "liver", 3: "kidney_left", 4: "odd \\ thing", 7: "spleen"}
AT = [(-30.0, 20.0, 100.0 + 2.5 * index) for index in range(8)]
COMMON = dict(
    PatientID="P1", PatientName="Doe^Jane", PatientBirthDate="19700101", PatientSex="F", StudyID="7",
    StudyDate="20260102", StudyTime="101500", AccessionNumber="A1", ReferringPhysicianName="",
    StudyInstanceUID="1.2.826.0.1.3680043.8.498.1", SeriesInstanceUID="1.2.826.0.1.3680043.8.498.2",
    FrameOfReferenceUID="1.2.826.0.1.3680043.8.498.3", PositionReferenceIndicator="",
)  # fmt: skip


def series_folder(folder: Path, positions=AT, **elements) -> Path:
    return save_series(folder, stored_values(len(positions)), positions, **{**COMMON, **elements})


def painted(shape) -> np.ndarray:
    """A ring with an island, blocks that touch the border of the image and each other, a single voxel."""
    labels = np.zeros(shape, np.uint8)
    labels[1:6, 2:9, 1:8] = 1
    labels[2:5, 4:7, 3:6] = 0
    labels[3, 5, 4] = 1
    labels[:, :2, -3:] = 3
    labels[4:, -2:, :] = 4
    labels[-1, 6, 8] = 7
    return labels


def result_on(geometry: Geometry, labels: np.ndarray) -> SegmentationResult:
    structures = tuple(
        Structure(value, NAMES[value], float((labels == value).sum() * geometry.voxel_volume_ml))
        for value in sorted(set(np.unique(labels).tolist()) - {0})
    )
    fields = {name: 0 for name in (field.name for field in fields_of(RunStatistics))}
    fields |= {
        "model": "small", "source_sha256": "ab" * 32, "compression": "Tucker 0.5", "structures": structures,
        "precision": "fp32", "device_name": "a processor", "output_grid": "native", "seconds": {}, "notes": (),
        "step_fraction": 0.5, "quality": None,
    }  # fmt: skip
    return SegmentationResult(labels, geometry, NAMES, RunStatistics(**fields))


def labels_of_seg(path: Path, source: Path) -> tuple[np.ndarray, list]:
    """(N, rows, columns, segments) along the third coordinate, by highdicom; and the segments' descriptions."""
    segmentation = highdicom.seg.segread(path)
    volume = segmentation.get_volume(combine_segments=False)
    array = np.asarray(volume.array)
    if volume.direction[2, 0] < 0:  # by its first axis
        array = array[::-1]
    return array, list(segmentation.SegmentSequence)


def placed_in(geometry: Geometry, array: np.ndarray, volume_affine: np.ndarray) -> np.ndarray:
    """Voxels of a read-back volume, on the grid of the image: at the same places in the patient."""
    result = np.zeros(geometry.shape, array.dtype)
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume_affine  # index (z, y, x)
    index = np.argwhere(array)
    places = index @ to_ras[:3, :3].T + to_ras[:3, 3]
    back = np.linalg.inv(geometry.matrix)
    at = places @ back[:3, :3].T + back[:3, 3]
    np.testing.assert_allclose(at, np.rint(at), atol=0.02)
    x, y, z = np.rint(at).astype(int).T
    result[z, y, x] = array[tuple(index.T)]
    return result
