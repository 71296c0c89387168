"""Where nodes stand among patients and studies."""

from __future__ import annotations

import slicer


def place_beside(node: slicer.vtkMRMLNode, volume_node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Put a node under the study of a volume, or wherever the volume stands, so that both are exported together."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    volume_item = hierarchy.GetItemByDataNode(volume_node)
    if volume_item:
        hierarchy.CreateItem(hierarchy.GetItemParent(volume_item), node)  # moves the item where there is one
