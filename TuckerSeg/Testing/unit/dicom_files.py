"""Makes DICOM files with pydicom, and reads them with it: the independent reader of the tests of DICOM."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="needs pydicom, of the test extra")

ROWS, COLUMNS = 12, 10
SPACING = (0.9, 0.7)  # of rows, of columns
CLASSES = {"CT": "2", "MR": "4", "PT": "128", "capture": "7", "enhanced CT": "2.1", "legacy CT": "2.2",
           "enhanced MR": "4.1", "enhanced PT": "130", "gray captures": "7.3"}  # fmt: skip


def stored_values(count: int = 8, seed: int = 0) -> np.ndarray:
    """Values (N, Y, X) as a CT without signs stores them: HU + 1024."""
    return np.random.default_rng(seed).integers(24, 2500, (count, ROWS, COLUMNS)).astype(np.uint16)


def places(count: int = 8, step: float = 2.5, start: float = 100.0) -> list[tuple[float, float, float]]:
    """Positions of axial slices, upwards."""
    return [(-30.0, 20.0, start + step * index) for index in range(count)]


def _dataset(kind: str, stored: np.ndarray, **elements: Any) -> pydicom.Dataset:
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = f"1.2.840.10008.5.1.4.1.1.{CLASSES[kind]}"
    dataset.SOPInstanceUID = pydicom.uid.generate_uid()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SeriesNumber = "1.2.3", "1.2.3.4", 4
    dataset.SeriesDescription = "chest"
    dataset.Modality = kind.split()[-1] if kind.split()[-1] in ("CT", "MR", "PT") else "OT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    bits = stored.dtype.itemsize * 8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    content = stored.tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
    for name, value in elements.items():
        if value is None:
            if name in dataset:
                delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    return dataset


def single(
    stored: np.ndarray,
    position: Sequence[float] | None,
    kind: str = "CT",
    directions: Sequence[float] = (1, 0, 0, 0, 1, 0),
    **elements: Any,
) -> pydicom.Dataset:
    """A slice (Y, X) as a file of its own; elements that are None are left out."""
    dataset = _dataset(kind, stored)
    if kind != "capture" or position is not None:
        dataset.ImagePositionPatient = [float(value) for value in position]
        dataset.ImageOrientationPatient = [float(value) for value in directions]
        dataset.PixelSpacing = list(SPACING)
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    for name, value in elements.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    return dataset


def _item(**elements: Any) -> pydicom.Sequence:
    item = pydicom.Dataset()
    for name, value in elements.items():
        setattr(item, name, value)
    return pydicom.Sequence([item])


def multi_frame(
    stored: np.ndarray,
    positions: Sequence[Sequence[float]],
    kind: str = "enhanced CT",
    directions: Sequence[float] = (1, 0, 0, 0, 1, 0),
    slopes: Sequence[float] | None = None,
    spacings: Sequence[Sequence[float]] | None = None,
    content: Sequence[dict[str, Any]] | None = None,
    **elements: Any,
) -> pydicom.Dataset:
    """Slices (N, Y, X) in one file, with a place each; what is the same of all is shared, unless it is given each.

    Args:
        content: Elements of each frame's FrameContentSequence.
    """
    dataset = _dataset(kind, stored, NumberOfFrames=len(stored))
    shared = pydicom.Dataset()
    shared.PlaneOrientationSequence = _item(ImageOrientationPatient=[float(value) for value in directions])
    if spacings is None:
        shared.PixelMeasuresSequence = _item(PixelSpacing=list(SPACING), SliceThickness=2.5)
    if slopes is None:
        shared.PixelValueTransformationSequence = _item(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU")
    dataset.SharedFunctionalGroupsSequence = pydicom.Sequence([shared])
    frames = []
    for index, position in enumerate(positions):
        frame = pydicom.Dataset()
        frame.PlanePositionSequence = _item(ImagePositionPatient=[float(value) for value in position])
        if spacings is not None:
            frame.PixelMeasuresSequence = _item(PixelSpacing=list(spacings[index]))
        if slopes is not None:
            frame.PixelValueTransformationSequence = _item(RescaleSlope=slopes[index], RescaleIntercept=-1024)
        if content is not None:
            frame.FrameContentSequence = _item(**content[index])
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = pydicom.Sequence(frames)
    for name, value in elements.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    return dataset


def save(dataset: pydicom.Dataset, path: Path) -> Path:
    """Write a file, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def save_series(
    folder: Path, stored: np.ndarray, positions: Sequence[Sequence[float]], prefix: str = "", **options: Any
) -> Path:
    """Slices as files of their own, in an order of names that is not that of their positions."""
    for index, position in enumerate(positions):
        name = f"{prefix}{(index * 5) % len(positions)}_{index}.dcm"
        save(single(stored[index], position, InstanceNumber=index + 1, **options), folder / name)
    return folder


def hounsfield(path: Path) -> np.ndarray:
    """All slices of a folder or file, sorted by the third coordinate, (Z, Y, X), as pydicom has them."""
    slices = []
    for file in [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file()):
        dataset = pydicom.dcmread(file, force=True)
        pixels = dataset.pixel_array.astype(float).reshape(-1, dataset.Rows, dataset.Columns)
        for index, plane in enumerate(pixels):
            position = _field(dataset, index, "PlanePositionSequence", "ImagePositionPatient")
            slope = _field(dataset, index, "PixelValueTransformationSequence", "RescaleSlope")
            intercept = _field(dataset, index, "PixelValueTransformationSequence", "RescaleIntercept")
            slices.append((float(position[2]), plane * float(slope) + float(intercept)))
    return np.stack([plane for _, plane in sorted(slices, key=lambda pair: pair[0])])


def _field(dataset: pydicom.Dataset, frame: int, sequence: str, name: str) -> Any:
    for groups in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        if groups in dataset:
            group = dataset[groups].value[frame if groups.startswith("Per") else 0]
            if sequence in group:
                return group[sequence].value[0][name].value
    return dataset[name].value
