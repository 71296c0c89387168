"""Shows the labels of a run as a segmentation node; all segments share one label map, so that 117 take milliseconds.

Slicer keeps segments that do not overlap in one label map, each known by its label value. Handing it that label
map as it is saves the import's pass over all voxels for every segment, which takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from ...catalog import structures
from .contents import LABELMAP, is_as_a_run_left_it, remember_contents

# What Slicer's exporter of DICOM SEG looks for; it takes segments without them for drawn by hand.
ALGORITHM_TAGS = {"DICOM.SegmentAlgorithmType": "AUTOMATIC", "DICOM.SegmentAlgorithmName": "TuckerSeg"}


@dataclass(frozen=True)
class LabelBox:
    """Labels of a part of a volume; all voxels around it are background.

    Attributes:
        labels: (Z, Y, X) of the box.
        lower: Index (Z, Y, X) of the box's first voxel in the volume.
    """

    labels: np.ndarray
    lower: tuple[int, int, int]


@dataclass(frozen=True)
class FoundLabel:
    """A label that a run found: its value and its name in the model."""

    value: int
    name: str


def show_labels(
    segmentation_node: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    box: LabelBox,
    labels: list[FoundLabel],
    standard_names: bool = True,
) -> None:
    """Replace what a segmentation holds by the labels of a run, on the volume's grid and under its transform.

    Args:
        labels: Labels that become a segment each; other values in the box belong to no segment.
        standard_names: Show titles and terminology of the structures; else the model's own names.
    """
    image = _label_image(volume_node, box)
    segmentation = segmentation_node.GetSegmentation()
    modified = segmentation_node.StartModify()
    try:
        segmentation.RemoveAllSegments()
        segmentation.SetSourceRepresentationName(LABELMAP)
        segmentation_node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
        segmentation_node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
        for label in labels:
            segment = _segment(label, standard_names)
            segment.AddRepresentation(LABELMAP, image)
            segmentation.AddSegment(segment, _segment_id(label))
        if segmentation_node.GetDisplayNode() is None:
            segmentation_node.CreateDefaultDisplayNodes()
    finally:
        segmentation_node.EndModify(modified)


def rename_segments(segmentation_node: slicer.vtkMRMLSegmentationNode, standard_names: bool) -> None:
    """Switch the segments of a run between standard titles and the model's own names; this is no edit by hand."""
    was_unedited = is_as_a_run_left_it(segmentation_node)
    segmentation = segmentation_node.GetSegmentation()
    for number in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(number)
        name = vtk.mutable("")
        if segment.GetTag(structures.LABEL_NAME_TAG, name):
            segment.SetName(structures.title_of(str(name)) if standard_names else str(name))
    if was_unedited:
        remember_contents(segmentation_node)


def _segment_id(label: FoundLabel) -> str:
    return f"label-{label.value:03d}"


def _segment(label: FoundLabel, standard_names: bool) -> slicer.vtkSegment:
    segment = slicer.vtkSegment()
    segment.SetName(structures.title_of(label.name) if standard_names else label.name)
    segment.SetLabelValue(label.value)
    segment.SetColor(*structures.color_of(label.value, label.name))
    for tag, value in {**structures.segment_tags(label.name), **ALGORITHM_TAGS}.items():
        segment.SetTag(tag, value)
    return segment


def _label_image(volume_node: slicer.vtkMRMLScalarVolumeNode, box: LabelBox) -> slicer.vtkOrientedImageData:
    """The box as an oriented image in the volume's index grid (x, y, z), with a copy of the labels."""
    labels = np.ascontiguousarray(box.labels)
    image = slicer.vtkOrientedImageData()
    extent = []
    for first, size in zip(box.lower[::-1], labels.shape[::-1]):
        extent += [first, first + size - 1]
    image.SetExtent(extent)
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(labels.reshape(-1), deep=True))
    index_to_ras = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(index_to_ras)
    image.SetGeometryFromImageToWorldMatrix(index_to_ras)
    return image
