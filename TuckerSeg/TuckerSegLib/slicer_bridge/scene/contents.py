"""What a segmentation holds, in a few bytes that can be compared: whether it is what a run left, or was edited since.

Compares contents and not times of modification: a saved scene keeps them, and surfaces for a 3D view change nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from ...errors import TuckerSegError
from ...text_files import parse_json

LABELMAP = "Binary labelmap"
CONTENTS_ATTRIBUTE = "TuckerSeg.Contents"
SAME_PLACE_MM = 0.01  # a file of a segmentation rounds its origin
COLOR_DIGITS = 2  # as many as such a file keeps
TAGS = ("TerminologyEntry", "Segmentation.Status")


@dataclass(frozen=True)
class Contents:
    """Segments of a segmentation.

    Attributes:
        segments: Digest of their names, colors, terminology and states.
        voxels: Digest of their label maps, without the empty space around them.
        corners_mm: World coordinates of the first voxel that is hashed, one after the other per label map.
    """

    segments: str
    voxels: str
    corners_mm: tuple[float, ...]

    def is_like(self, other: Contents | None) -> bool:
        """Whether both are the same but for rounding."""
        return (
            other is not None
            and (self.segments, self.voxels) == (other.segments, other.voxels)
            and len(self.corners_mm) == len(other.corners_mm)
            and all(
                math.isclose(here, there, rel_tol=0, abs_tol=SAME_PLACE_MM)
                for here, there in zip(self.corners_mm, other.corners_mm)
            )
        )


def contents_of(segmentation_node: slicer.vtkMRMLSegmentationNode) -> Contents | None:
    """What it holds now; None where it has no segment. Takes about a second per gigabyte of labels."""
    segments = list(_segments(segmentation_node))
    if not segments:
        return None
    label_maps: list[vtk.vtkObject] = []
    facts, voxels, corners = hashlib.sha256(), hashlib.sha256(), []
    for segment in segments:
        label_map = segment.GetRepresentation(LABELMAP)
        if label_map is not None and label_map not in label_maps:
            label_maps.append(label_map)
    for segment in segments:
        facts.update(repr(_facts(segment, label_maps)).encode())
    for label_map in label_maps:
        corners += _hash_voxels(label_map, voxels)
    return Contents(facts.hexdigest(), voxels.hexdigest(), tuple(corners))


def remember_contents(segmentation_node: slicer.vtkMRMLSegmentationNode) -> None:
    """Note on a segmentation that what it holds now is what a run left."""
    contents = contents_of(segmentation_node)
    document = None
    if contents is not None:
        document = json.dumps([contents.segments, contents.voxels, list(contents.corners_mm)])
    segmentation_node.SetAttribute(CONTENTS_ATTRIBUTE, document)


def is_as_a_run_left_it(segmentation_node: slicer.vtkMRMLSegmentationNode) -> bool:
    """Whether a segmentation is empty, or holds what the last run left in it and nothing else."""
    contents = contents_of(segmentation_node)
    return contents is None or contents.is_like(_remembered(segmentation_node))


def _remembered(segmentation_node: slicer.vtkMRMLSegmentationNode) -> Contents | None:
    text = segmentation_node.GetAttribute(CONTENTS_ATTRIBUTE)
    try:
        segments, voxels, corners = parse_json(text) if text else ("", "", ())
        return Contents(str(segments), str(voxels), tuple(float(each) for each in corners))
    except (TypeError, ValueError, TuckerSegError):  # the scene may come from anywhere
        return None


def _segments(segmentation_node: slicer.vtkMRMLSegmentationNode) -> Iterator[slicer.vtkSegment]:
    segmentation = segmentation_node.GetSegmentation()
    for number in range(segmentation.GetNumberOfSegments()):
        yield segmentation.GetNthSegment(number)


def _facts(segment: slicer.vtkSegment, label_maps: list[vtk.vtkObject]) -> tuple:
    tags = []
    for name in TAGS:
        value = vtk.mutable("")
        tags.append(str(value) if segment.GetTag(name, value) else "")
    label_map = segment.GetRepresentation(LABELMAP)
    # a segment that was made of a surface has no label map of its own; its surface tells by its time that it changed
    place = label_maps.index(label_map) if label_map is not None else ("surface", segment.GetMTime())
    color = [round(part, COLOR_DIGITS) for part in segment.GetColor()]
    return segment.GetName(), color, tags, place, segment.GetLabelValue()


def _hash_voxels(label_map: slicer.vtkOrientedImageData, digest: hashlib._Hash) -> list[float]:
    """Add the box of a label map that is not background; gives the world coordinates of its first voxel."""
    scalars = label_map.GetPointData().GetScalars()
    if scalars is None or min(label_map.GetDimensions()) < 1:
        return []
    labels = numpy_support.vtk_to_numpy(scalars).reshape(label_map.GetDimensions()[::-1])
    box = _box(labels)
    if box is None:
        return []
    part = labels[box]
    digest.update(repr(part.shape).encode())
    for layer in part:
        digest.update(np.ascontiguousarray(layer, "<i4"))
    first = [low + side.start for low, side in zip(label_map.GetExtent()[::2], box[::-1])]
    to_world = vtk.vtkMatrix4x4()
    label_map.GetImageToWorldMatrix(to_world)
    return list(to_world.MultiplyPoint((*map(float, first), 1.0)))[:3]


def _box(labels: np.ndarray) -> tuple[slice, slice, slice] | None:
    """The smallest box around what is not background, (Z, Y, X)."""
    filled = labels != 0
    sides = []
    for axis in range(3):
        places = np.flatnonzero(filled.any(axis=tuple({0, 1, 2} - {axis})))
        if not len(places):
            return None
        sides.append(slice(int(places[0]), int(places[-1]) + 1))
    return tuple(sides)
