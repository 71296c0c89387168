"""Labels of a run as a segmentation node: where they lie, what they are called, and how long the import blocks."""

from __future__ import annotations

import numpy as np
import pytest

TOTAL = 117


@pytest.fixture
def volume_node(slicer_app):
    """An oblique volume, 40 x 50 x 60 voxels (x, y, z), one axis flipped."""
    return make_volume((60, 50, 40))


def make_volume(shape):
    import slicer
    import vtk

    node = slicer.util.addVolumeFromArray(np.zeros(shape, np.int16), name="ct")
    matrix = vtk.vtkMatrix4x4()
    angle = np.radians(12)
    rows = np.array(
        [
            [-1.5 * np.cos(angle), 0.8 * np.sin(angle), 0, 20],
            [1.5 * np.sin(angle), 0.8 * np.cos(angle), 0, -30],
            [0, 0, 2.0, 5],
        ]
    )
    for row in range(3):
        for column in range(4):
            matrix.SetElement(row, column, rows[row, column])
    node.SetIJKToRASMatrix(matrix)
    return node


def new_segmentation():
    import slicer

    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "result")


def voxels_of(segmentation_node, value, volume_node):
    """Voxels of the segment with a label value on the volume's grid, (Z, Y, X) bool; by way of Slicer's export."""
    import slicer

    segmentation = segmentation_node.GetSegmentation()
    ids = [
        segmentation.GetNthSegmentID(number)
        for number in range(segmentation.GetNumberOfSegments())
        if segmentation.GetNthSegment(number).GetLabelValue() == value
    ]
    assert len(ids) == 1
    return slicer.util.arrayFromSegmentBinaryLabelmap(segmentation_node, ids[0], volume_node).astype(bool)


def tag_of(segment, name):
    import vtk

    value = vtk.mutable("")
    assert segment.GetTag(name, value)
    return str(value)


def test_every_segment_covers_the_voxels_of_its_label(volume_node):
    from TuckerSegLib.slicer_bridge.scene.segmentations import FoundLabel, LabelBox, show_labels

    whole = np.zeros((60, 50, 40), np.uint8)
    whole[12:20, 5:30, 8:22] = 5
    whole[20:31, 10:12, 9:39] = 1
    box = LabelBox(whole[12:31, 5:30, 8:39], (12, 5, 8))
    node = new_segmentation()
    show_labels(node, volume_node, box, [FoundLabel(1, "spleen"), FoundLabel(5, "liver")])
    for value in (1, 5):
        np.testing.assert_array_equal(voxels_of(node, value, volume_node), whole == value)


def test_segments_carry_standard_names_terminology_and_the_label_value(volume_node):
    import slicer

    from TuckerSegLib.catalog import structures
    from TuckerSegLib.slicer_bridge.scene.segmentations import FoundLabel, LabelBox, rename_segments, show_labels

    node = new_segmentation()
    box = LabelBox(np.full((3, 3, 3), 3, np.uint8), (0, 0, 0))
    show_labels(node, volume_node, box, [FoundLabel(3, "kidney_left")])
    segment = node.GetSegmentation().GetNthSegment(0)
    assert segment.GetName() == "Left kidney"
    assert segment.GetLabelValue() == 3
    entry = slicer.vtkSlicerTerminologyEntry()
    logic = slicer.modules.terminologies.logic()
    assert logic.DeserializeTerminologyEntry(tag_of(segment, structures.TERMINOLOGY_TAG), entry)
    assert entry.GetTypeObject().GetCodeValue() == "64033007"
    assert entry.GetTypeModifierObject().GetCodeMeaning() == "Left"
    rename_segments(node, standard_names=False)
    assert segment.GetName() == "kidney_left"
    rename_segments(node, standard_names=True)
    assert segment.GetName() == "Left kidney"


def test_a_result_follows_the_transform_of_its_volume(volume_node):
    import slicer

    from TuckerSegLib.slicer_bridge.scene.segmentations import FoundLabel, LabelBox, show_labels

    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    volume_node.SetAndObserveTransformNodeID(transform.GetID())
    node = new_segmentation()
    show_labels(node, volume_node, LabelBox(np.ones((2, 2, 2), np.uint8), (1, 1, 1)), [FoundLabel(1, "spleen")])
    assert node.GetTransformNodeID() == transform.GetID()


def test_showing_again_replaces_what_was_shown(volume_node):
    from TuckerSegLib.slicer_bridge.scene.segmentations import FoundLabel, LabelBox, show_labels

    node = new_segmentation()
    labels = LabelBox(np.ones((2, 2, 2), np.uint8), (1, 1, 1))
    show_labels(node, volume_node, labels, [FoundLabel(1, "spleen")])
    show_labels(node, volume_node, LabelBox(labels.labels * 7, (2, 2, 2)), [FoundLabel(7, "pancreas")])
    assert node.GetSegmentation().GetNumberOfSegments() == 1
    assert voxels_of(node, 7, volume_node).sum() == 8


def test_117_segments_share_one_layer_of_labels(slicer_app):
    from TuckerSegLib.slicer_bridge.scene.segmentations import FoundLabel, LabelBox, show_labels

    volume_node = make_volume((100, 128, 128))
    labels = np.zeros((100, 128, 128), np.uint8)
    centers = np.random.default_rng(0).integers(5, 92, (TOTAL, 3))
    for value, (z, y, x) in enumerate(centers, 1):
        labels[z : z + 6, y : y + 6, x : x + 6] = value
    present = [FoundLabel(int(value), f"structure_{value}") for value in np.unique(labels) if value]
    node = new_segmentation()
    show_labels(node, volume_node, LabelBox(labels, (0, 0, 0)), present)
    assert node.GetSegmentation().GetNumberOfSegments() == len(present) > 100
    assert node.GetSegmentation().GetNumberOfLayers() == 1
