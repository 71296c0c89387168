"""What is known of a volume node before anybody computes: its modality, the range of its values, its transform."""

from __future__ import annotations

import slicer


def stated_modality(volume_node: slicer.vtkMRMLScalarVolumeNode) -> str:
    """Modality as DICOM names it (``CT``, ``MR``, ``PT``, ...), told by the files of a volume; empty where none did."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volume_node.GetScene())
    item = hierarchy.GetItemByDataNode(volume_node) if hierarchy is not None else 0
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    return str(hierarchy.GetItemAttribute(item, name) or "").strip().upper() if item else ""


def value_range(volume_node: slicer.vtkMRMLScalarVolumeNode) -> tuple[float, float]:
    """Lowest and highest value. VTK remembers them until the voxels change."""
    low, high = volume_node.GetImageData().GetScalarRange()
    return float(low), float(high)


def transform_of(volume_node: slicer.vtkMRMLScalarVolumeNode) -> tuple[str, bool] | None:
    """Name of the transform that a volume is under, and whether it and those above it are linear; None without one."""
    node = volume_node.GetParentTransformNode()
    return None if node is None else (node.GetName(), bool(node.IsTransformToWorldLinear()))
