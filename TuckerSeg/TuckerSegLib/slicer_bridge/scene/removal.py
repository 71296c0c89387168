"""Taking nodes out of the scene with what belongs to them alone; the scene itself leaves that behind."""

from __future__ import annotations

import slicer


def remove_with_display(node: slicer.vtkMRMLNode) -> None:
    """Remove a node, and the display nodes that no other node has."""
    count = node.GetNumberOfDisplayNodes() if node.IsA("vtkMRMLDisplayableNode") else 0
    displays = [node.GetNthDisplayNode(number) for number in range(count)]
    slicer.mrmlScene.RemoveNode(node)
    shown = slicer.util.getNodesByClass("vtkMRMLDisplayableNode")
    for display in displays:
        if display is not None and not any(other.HasNodeReferenceID("display", display.GetID()) for other in shown):
            slicer.mrmlScene.RemoveNode(display)
