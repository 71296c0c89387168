"""What would be lost if a run filled a segmentation that is there already: another volume's result, edits by hand."""

from __future__ import annotations

import slicer

from ...errors import OutputError
from .contents import is_as_a_run_left_it


def volume_of(segmentation_node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLVolumeNode | None:
    """The volume that a segmentation was made of; None where that is not known, or it has been removed."""
    return segmentation_node.GetNodeReference(segmentation_node.GetReferenceImageGeometryReferenceRole())


def is_of_another_volume(
    segmentation_node: slicer.vtkMRMLSegmentationNode | None, volume_node: slicer.vtkMRMLScalarVolumeNode | None
) -> bool:
    """Whether a segmentation shows another volume than this; one whose volume has been removed does, too."""
    if segmentation_node is None:
        return False
    made_of = volume_of(segmentation_node)
    if made_of is None:
        return segmentation_node.GetSegmentation().GetNumberOfSegments() > 0
    return made_of is not volume_node


def loss(
    segmentation_node: slicer.vtkMRMLSegmentationNode | None, volume_node: slicer.vtkMRMLScalarVolumeNode
) -> str | None:
    """What would be lost if a run of the volume filled the segmentation, in a sentence; None where nothing would."""
    if segmentation_node is None:
        return None
    name = segmentation_node.GetName()
    if is_of_another_volume(segmentation_node, volume_node):
        made_of = volume_of(segmentation_node)
        other = made_of.GetName() if made_of is not None else "another volume"
        return f"{name} is a segmentation of {other}, and not of {volume_node.GetName()}."
    if not is_as_a_run_left_it(segmentation_node):
        return f"{name} holds segments that were edited or added since the last run."
    return None


def check_same_volume(
    segmentation_node: slicer.vtkMRMLSegmentationNode | None, volume_node: slicer.vtkMRMLScalarVolumeNode
) -> None:
    """Make sure that a script does not fill one patient's segmentation with another's.

    Raises:
        OutputError: The segmentation is of another volume.
    """
    if is_of_another_volume(segmentation_node, volume_node):
        raise OutputError(
            f"{loss(segmentation_node, volume_node)} Pass None as segmentation to get a new one, or one that is empty."
        )
