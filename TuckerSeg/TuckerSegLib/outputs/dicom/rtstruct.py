"""RTSTRUCT: closed contours of every structure on the slices that were read (PS3.3, A.19)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from ...image.dicom.header import Slice
from ...segmentation.segment import SegmentationResult
from .coding import PRODUCT, VERSION, CodedStructure, algorithm_name, fit_text, what_made_it
from .contours import Polygon, outlines
from .source import MAY_BE_EMPTY, Source

SERIES_NUMBER = 9002
SHORT_TEXT = 16  # SH
LONGEST_DESCRIPTION = 1024  # ST
PLACES = 4  # decimals of mm, where numbers have 16 characters


def structure_set_of(
    source: Source,
    result: SegmentationResult,
    chosen: Sequence[CodedStructure],
    series_uid: str,
    instance_number: int,
) -> Dataset:
    """A structure set; arguments as of ``seg.segmentation_of``."""
    now = datetime.now()
    dataset = _common(source, now)
    dataset.SeriesInstanceUID, dataset.SeriesNumber, dataset.InstanceNumber = series_uid, SERIES_NUMBER, instance_number
    dataset.Modality, dataset.SeriesDescription = "RTSTRUCT", algorithm_name(result)
    dataset.OperatorsName = ""
    dataset.Manufacturer, dataset.ManufacturerModelName = PRODUCT, algorithm_name(result)
    dataset.SoftwareVersions, dataset.DeviceSerialNumber = VERSION, "none"
    dataset.StructureSetLabel = fit_text(PRODUCT, SHORT_TEXT)
    dataset.StructureSetName = algorithm_name(result)
    facts = ", ".join(f"{name} {value}" for name, value in what_made_it(result).items())
    dataset.StructureSetDescription = fit_text(facts, LONGEST_DESCRIPTION)
    dataset.StructureSetDate, dataset.StructureSetTime = dataset.InstanceCreationDate, dataset.InstanceCreationTime
    dataset.ReferencedFrameOfReferenceSequence = Items([_frame_of_reference(source)])
    rois, contours, observations = [], [], []
    for number, each in enumerate(chosen, 1):
        rois.append(_roi(number, each, source, result))
        contours.append(_roi_contour(number, each, source))
        observations.append(_observation(number, each))
    dataset.StructureSetROISequence = Items(rois)
    dataset.ROIContourSequence = Items(contours)
    dataset.RTROIObservationsSequence = Items(observations)
    dataset.ApprovalStatus = "UNAPPROVED"
    return dataset


def _common(source: Source, now: datetime) -> Dataset:
    """A new object of the patient and the study."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = RTStructureSetStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    if "SpecificCharacterSet" in source.first:
        dataset.SpecificCharacterSet = source.first.SpecificCharacterSet
    for name in (*MAY_BE_EMPTY, "StudyInstanceUID", "FrameOfReferenceUID"):
        setattr(dataset, name, source.first.get(name))
    dataset.PositionReferenceIndicator = ""
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    return dataset


def _item(**elements: Any) -> Dataset:
    item = Dataset()
    for name, value in elements.items():
        setattr(item, name, value)
    return item


def _reference(source: Source, each: Slice, header: Dataset) -> Dataset:
    item = _item(ReferencedSOPClassUID=header.SOPClassUID, ReferencedSOPInstanceUID=header.SOPInstanceUID)
    if each.file.format.frames > 1:
        item.ReferencedFrameNumber = each.frame + 1
    return item


def _frame_of_reference(source: Source) -> Dataset:
    images = [_reference(source, each, header) for each, header in zip(source.slices, source.headers)]
    series = _item(SeriesInstanceUID=source.first.SeriesInstanceUID, ContourImageSequence=Items(images))
    study = _item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",  # Detached Study Management, retired; what RTSTRUCT names here
        ReferencedSOPInstanceUID=source.first.StudyInstanceUID,
        RTReferencedSeriesSequence=Items([series]),
    )
    return _item(FrameOfReferenceUID=source.first.FrameOfReferenceUID, RTReferencedStudySequence=Items([study]))


def _roi(number: int, structure: CodedStructure, source: Source, result: SegmentationResult) -> Dataset:
    return _item(
        ROINumber=number,
        ReferencedFrameOfReferenceUID=source.first.FrameOfReferenceUID,
        ROIName=structure.label,
        ROIVolume=pydicom.valuerep.DSfloat(structure.volume_ml, auto_format=True),  # cm3
        ROIGenerationAlgorithm="AUTOMATIC",
        ROIGenerationDescription=algorithm_name(result),
    )


def _roi_contour(number: int, structure: CodedStructure, source: Source) -> Dataset:
    color = [round(255 * part) for part in structure.color]
    contours = []
    for place, points in contours_of(source, structure.value):
        contours.append(
            _item(
                ContourImageSequence=Items([_reference(source, source.slices[place], source.headers[place])]),
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(points),
                ContourNumber=len(contours) + 1,
                ContourData=[_number(value) for value in points.ravel().tolist()],
            )
        )
    return _item(ROIDisplayColor=color, ReferencedROINumber=number, ContourSequence=Items(contours))


def contours_of(source: Source, value: int) -> Iterator[tuple[int, np.ndarray]]:
    """Number of the slice and corners (N, 3), LPS mm, of every contour of a structure."""
    for place, (plane, each) in enumerate(zip(source.labels, source.slices)):
        mask = plane == value
        if mask.any():
            for polygon in outlines(mask):
                yield place, _in_patient(polygon, each)


def _in_patient(polygon: Polygon, each: Slice) -> np.ndarray:
    """Corners of pixels to LPS mm; the position of a slice is the center of its first pixel."""
    corners = np.array(polygon, dtype=float) - 0.5
    along_x = each.place.directions[0] * each.place.spacing[1]
    along_y = each.place.directions[1] * each.place.spacing[0]
    return each.place.position + corners[:, :1] * along_x + corners[:, 1:] * along_y


def _number(value: float) -> str:
    """A number of mm within the 16 characters of a decimal string."""
    text = f"{value:.{PLACES}f}".rstrip("0").rstrip(".")
    return text if len(text) <= 16 else f"{value:.9e}"[:16]


def _observation(number: int, structure: CodedStructure) -> Dataset:
    code = _coded(structure.type)
    if structure.side:
        code.SegmentedPropertyTypeModifierCodeSequence = Items([_coded(structure.side)])
    return _item(
        ObservationNumber=number,
        ReferencedROINumber=number,
        ROIObservationLabel=fit_text(structure.label, SHORT_TEXT),
        RTROIIdentificationCodeSequence=Items([code]),
        RTROIInterpretedType="ORGAN",
        ROIInterpreter="",
    )


def _coded(code: Code) -> Dataset:
    return _item(CodeValue=code.value, CodingSchemeDesignator=code.scheme_designator, CodeMeaning=code.meaning)
