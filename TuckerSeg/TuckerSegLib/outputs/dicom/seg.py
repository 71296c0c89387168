"""DICOM SEG: one binary segment per structure, on the slices that were read."""

from __future__ import annotations

from collections.abc import Sequence

import highdicom
import numpy as np
import pydicom
from highdicom.seg import Segmentation, SegmentationTypeValues, SegmentDescription
from highdicom.sr.coding import CodedConcept
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from ...segmentation.segment import SegmentationResult
from .coding import PRODUCT, VERSION, CodedStructure, algorithm_name, what_made_it
from .source import Source

SERIES_NUMBER = 9001  # far from those of scanners


def segmentation_of(
    source: Source,
    result: SegmentationResult,
    chosen: Sequence[CodedStructure],
    series_uid: str,
    instance_number: int,
) -> pydicom.Dataset:
    """A SEG of some structures.

    Args:
        source: Slices and labels.
        result: What made them.
        chosen: Structures, at least one.
        series_uid: Of the series that it belongs to.
        instance_number: Within that series.

    Raises:
        OutputError: The slices are of a kind that no SEG can refer to.
    """
    files, labels = source.by_frame()
    numbers = np.zeros(int(max(labels.max(), max(each.value for each in chosen))) + 1, np.uint16)
    for number, each in enumerate(chosen, 1):
        numbers[each.value] = number
    numbered = numbers[labels]
    if len(chosen) < 256:
        numbered = numbered.astype(np.uint8)
    return Segmentation(
        source_images=files,
        pixel_array=numbered,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(number, each, result) for number, each in enumerate(chosen, 1)],
        series_instance_uid=series_uid,
        series_number=SERIES_NUMBER,
        sop_instance_uid=highdicom.UID(),
        instance_number=instance_number,
        manufacturer=PRODUCT,
        manufacturer_model_name=algorithm_name(result),
        software_versions=VERSION,
        device_serial_number="none",
        content_label="SEGMENTATION",
        content_description=algorithm_name(result),
        series_description=algorithm_name(result),
    )


def _description(number: int, structure: CodedStructure, result: SegmentationResult) -> SegmentDescription:
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=algorithm_name(result),
        family=codes.cid7162.ArtificialIntelligence,
        version=VERSION,
        source=PRODUCT,
        parameters=what_made_it(result),
    )
    description = SegmentDescription(
        segment_number=number,
        segment_label=structure.label,
        segmented_property_category=structure.category,
        segmented_property_type=structure.type,
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        tracking_uid=highdicom.UID(),
        tracking_id=structure.label,
        anatomic_regions=[structure.region] if structure.region else None,
        display_color=highdicom.color.CIELabColor.from_rgb(*(round(255 * part) for part in structure.color)),
    )
    if structure.side:
        item = description.SegmentedPropertyTypeCodeSequence[0]
        item.SegmentedPropertyTypeModifierCodeSequence = [_concept(structure.side)]
    if structure.region and structure.region_side:
        item = description.AnatomicRegionSequence[0]
        item.AnatomicRegionModifierSequence = [_concept(structure.region_side)]
    return description


def _concept(code: Code) -> CodedConcept:
    return CodedConcept.from_code(code)
