"""What the slice views show, and showing something else in them."""

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


def show_volume(volume_node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Bring a volume into the background of all slice views, and all of it into sight."""
    for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        view.SetBackgroundVolumeID(volume_node.GetID())
    slicer.app.applicationLogic().FitSliceToAll()
