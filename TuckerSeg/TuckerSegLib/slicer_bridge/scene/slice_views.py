"""What the slice views show."""

from __future__ import annotations

import slicer


def shown_volume() -> slicer.vtkMRMLScalarVolumeNode | None:
    """The volume in the background of the slice views; None where there is none, or several, or another kind."""
    views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    shown = {view.GetBackgroundVolumeID() for view in views} - {None}
    if len(shown) != 1:
        return None
    volume_node = slicer.mrmlScene.GetNodeByID(shown.pop())
    # label maps, vectors and others are scalar volumes, too
    is_plain = volume_node is not None and volume_node.GetClassName() == "vtkMRMLScalarVolumeNode"
    return volume_node if is_plain else None
