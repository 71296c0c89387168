"""Closed surfaces of a segmentation, made segment after segment between the application's own events.

Slicer makes all of them at once and answers nobody meanwhile. Here it makes each of the box of one segment, by its own
rules and settings, which gives the same surfaces.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from ..client.delay import Delay
from .segmentations import LABELMAP

SURFACE = "Closed surface"


def has_surfaces(node: slicer.vtkMRMLSegmentationNode | None) -> bool:
    """Whether a segmentation has closed surfaces."""
    return node is not None and bool(node.GetSegmentation().ContainsRepresentation(SURFACE))


def remove_surfaces(node: slicer.vtkMRMLSegmentationNode) -> None:
    """Take the surfaces away, unless the segmentation consists of them."""
    if node.GetSegmentation().GetSourceRepresentationName() != SURFACE:
        node.GetSegmentation().RemoveRepresentation(SURFACE)


class SurfaceMaking:
    """The surfaces of one segmentation after another.

    Args:
        on_progress: Receives how many segments are done, and of how many.
        on_end: Called when the last one is done, or when the segmentation has gone.
    """

    def __init__(self, on_progress: Callable[[int, int], None], on_end: Callable[[], None]):
        self._on_progress, self._on_end = on_progress, on_end
        self._soon = Delay(0, self._next)
        self._node: slicer.vtkMRMLSegmentationNode | None = None
        self._left: list[str] = []
        self._count = 0

    @property
    def node(self) -> slicer.vtkMRMLSegmentationNode | None:
        """The segmentation whose surfaces are being made; None while there is none."""
        return self._node

    def start(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        """Begin, and return at once; what was being made for another segmentation is given up."""
        self.stop()
        self._node = node
        self._left = [str(name) for name in node.GetSegmentation().GetSegmentIDs()]
        self._count = len(self._left)
        self._soon.start()

    def stop(self) -> None:
        """Give up. Where some are missing, those that are done go: Slicer would take them for all."""
        self._soon.stop()
        node, self._node = self._node, None
        if node is not None and self._left and node.GetScene() is not None:
            remove_surfaces(node)

    def _next(self) -> None:
        node = self._node
        if node is None:
            return
        if node.GetScene() is not None and self._left:
            make_surface(node, self._left.pop(0))
            self._on_progress(self._count - len(self._left), self._count)
            self._soon.start()
            return
        self._node = None
        if node.GetScene() is not None:
            _show(node)
        self._on_end()


def make_surface(node: slicer.vtkMRMLSegmentationNode, segment_id: str) -> None:
    """Give one segment its surface; one that is gone, or has one, is left alone."""
    segmentation = node.GetSegmentation()
    segment = segmentation.GetSegment(segment_id)
    if segment is None or segment.GetRepresentation(SURFACE) is not None:
        return
    image = _box_of(segment)
    surface = vtk.vtkPolyData()
    if image is not None:
        alone = slicer.vtkSegmentation()
        alone.SetSourceRepresentationName(LABELMAP)
        alone.CopyConversionParameters(segmentation)
        copy = slicer.vtkSegment()
        copy.SetLabelValue(1)
        copy.AddRepresentation(LABELMAP, image)
        alone.AddSegment(copy, segment_id)
        if alone.CreateRepresentation(SURFACE):
            surface = alone.GetSegment(segment_id).GetRepresentation(SURFACE)
    segment.AddRepresentation(SURFACE, surface)


def _box_of(segment: slicer.vtkSegment) -> slicer.vtkOrientedImageData | None:
    """The voxels of one segment alone, as 1, with a margin of one voxel; None where there are none."""
    whole = segment.GetRepresentation(LABELMAP)
    scalars = whole.GetPointData().GetScalars() if whole is not None else None
    if scalars is None:
        return None
    mask = numpy_support.vtk_to_numpy(scalars).reshape(whole.GetDimensions()[::-1]) == segment.GetLabelValue()
    spans = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if not len(spans[0]):
        return None
    part = mask[tuple(slice(span[0], span[-1] + 1) for span in spans)]
    voxels = np.ascontiguousarray(np.pad(part, 1).astype(np.uint8))
    extent = []
    for first, span, size in zip(whole.GetExtent()[::2], spans[::-1], voxels.shape[::-1]):
        lower = int(first + span[0] - 1)
        extent += [lower, lower + size - 1]
    image = slicer.vtkOrientedImageData()
    image.SetExtent(extent)
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(voxels.reshape(-1), deep=True))
    to_world = vtk.vtkMatrix4x4()
    whole.GetImageToWorldMatrix(to_world)
    image.SetGeometryFromImageToWorldMatrix(to_world)
    return image


def _show(node: slicer.vtkMRMLSegmentationNode) -> None:
    """Surfaces in 3D and label maps in slices, as Slicer's own button sets it."""
    display = node.GetDisplayNode()
    if display is not None:
        display.SetPreferredDisplayRepresentationName3D(SURFACE)
        display.SetPreferredDisplayRepresentationName2D(LABELMAP)
    segmentation = node.GetSegmentation()
    segmentation.InvokeEvent(slicer.vtkSegmentation.ContainedRepresentationNamesModified)
