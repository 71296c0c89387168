"""A report of volumes: DICOM SR by template TID 1500, with a measurement per structure that refers to the SEG."""

from __future__ import annotations

from collections.abc import Sequence

import highdicom
import pydicom
from highdicom import sr
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from ...segmentation.segment import SegmentationResult
from .coding import PRODUCT, VERSION, CodedStructure, algorithm_name, what_made_it
from .source import Source

SERIES_NUMBER = 9003
PROCEDURES = {
    "CT": codes.LN.CTUnspecifiedBodyRegion,
    "MR": codes.LN.MRIUnspecifiedBodyRegion,
    "PT": codes.LN.PETUnspecifiedBodyRegion,
}
IMAGING = Code("363679005", "SCT", "Imaging procedure")
MILLILITER = Code("mL", "UCUM", "mL")


def report_of(
    source: Source,
    result: SegmentationResult,
    chosen: Sequence[CodedStructure],
    series_uid: str,
    instance_number: int,
    segmentation: pydicom.Dataset,
) -> pydicom.Dataset:
    """A report; arguments as of ``seg.segmentation_of``, and the SEG of the same structures."""
    device = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=highdicom.UID(), name=PRODUCT, manufacturer_name=PRODUCT, model_name=algorithm_name(result)
        ),
    )
    measurements = [_measured(number, each, source, result, segmentation) for number, each in enumerate(chosen, 1)]
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=device),
        procedure_reported=PROCEDURES.get(source.first.get("Modality"), IMAGING),
        imaging_measurements=measurements,
        title=codes.DCM.ImagingMeasurementReport,
    )
    return sr.Comprehensive3DSR(
        evidence=[segmentation, *{id(header): header for header in source.headers}.values()],
        content=content[0],
        series_instance_uid=series_uid,
        series_number=SERIES_NUMBER,
        sop_instance_uid=highdicom.UID(),
        instance_number=instance_number,
        manufacturer=PRODUCT,
        is_complete=True,
        series_description=algorithm_name(result),
    )


def _measured(
    number: int,
    structure: CodedStructure,
    source: Source,
    result: SegmentationResult,
    segmentation: pydicom.Dataset,
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    segment = sr.ReferencedSegment(
        sop_class_uid=segmentation.SOPClassUID,
        sop_instance_uid=segmentation.SOPInstanceUID,
        segment_number=number,
        source_series=sr.SourceSeriesForSegmentation(source.first.SeriesInstanceUID),
    )
    description = segmentation.SegmentSequence[number - 1]
    identifier = sr.TrackingIdentifier(uid=description.TrackingUID, identifier=description.TrackingID)
    volume = sr.Measurement(name=codes.SCT.Volume, value=round(structure.volume_ml, 6), unit=MILLILITER)
    sites = None
    if structure.side:
        sites = [sr.FindingSite(anatomic_location=structure.type, laterality=structure.side)]
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=identifier,
        referenced_segment=segment,
        finding_type=structure.type,
        finding_category=structure.category,
        finding_sites=sites,
        measurements=[volume],
        algorithm_id=sr.AlgorithmIdentification(
            name=algorithm_name(result),
            version=VERSION,
            parameters=[f"{name}: {value}" for name, value in what_made_it(result).items()],
        ),
    )
