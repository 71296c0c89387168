"""The position of the crosshair in a volume."""

from __future__ import annotations

import slicer


def crosshair_position(volume_node: slicer.vtkMRMLScalarVolumeNode) -> tuple[float, float, float]:
    """The crosshair in RAS mm where it lies in the volume; else the volume's middle."""
    bounds = [0.0] * 6
    volume_node.GetRASBounds(bounds)
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    point = tuple(crosshair.GetCrosshairRAS()) if crosshair is not None else (0.0, 0.0, 0.0)
    if all(low <= value <= high for value, low, high in zip(point, bounds[::2], bounds[1::2])):
        return point
    return tuple((low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2]))
