"""A result lies where the structures of the input lie, in the patient: whatever the input's axes and transforms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

TOLERANCE_MM = 1.0  # a third of a voxel: the same voxels, counted along other axes
FLIPS = list(itertools.product((False, True), repeat=3))


@pytest.fixture
def run(small_model):
    """A function that segments a volume node with the logic and gives the segmentation node."""
    from TuckerSegLib.records.job import InferenceSpec
    from TuckerSegLib.slicer_bridge.client.segmentation_run import RunSettings
    from TuckerSegLib.slicer_bridge.client.session import Session

    session = Session()
    settings = RunSettings(model=small_model, inference=InferenceSpec(precision="fp32", step_fraction=1.0))
    yield lambda volume_node: session.segment(volume_node, None, settings)[1]
    session.close()


def turned(node, axes, flips, matrix=None):
    """The same patient stored along other axes: array axes permuted and flipped, and the geometry with them."""
    import slicer
    import vtk

    array = slicer.util.arrayFromVolume(node)
    old = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(old)
    affine = slicer.util.arrayFromVTKMatrix(old)
    to_old = np.zeros((4, 4))  # new index (x, y, z) to old index
    to_old[3, 3] = 1
    sizes = array.shape[::-1]
    for new, (source, flip) in enumerate(zip(axes, flips)):
        to_old[source, new] = -1 if flip else 1
        to_old[source, 3] = sizes[source] - 1 if flip else 0
    xyz = array.transpose(2, 1, 0).transpose(axes)
    xyz = xyz[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]
    new_affine = (np.eye(4) if matrix is None else matrix) @ affine @ to_old
    return slicer.util.addVolumeFromArray(np.ascontiguousarray(xyz.transpose(2, 1, 0)), new_affine, "turned")


def centers(segmentation_node, volume_node):
    """Label value to the center of its voxels in RAS mm, parent transforms applied; by Slicer's own export."""
    import slicer
    import vtk

    to_ras, to_world = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(to_ras)
    transform = segmentation_node.GetParentTransformNode()
    if transform is not None:
        transform.GetMatrixTransformToWorld(to_world)
    affine = slicer.util.arrayFromVTKMatrix(to_world) @ slicer.util.arrayFromVTKMatrix(to_ras)
    places = {}
    segmentation = segmentation_node.GetSegmentation()
    for number in range(segmentation.GetNumberOfSegments()):
        identity = segmentation.GetNthSegmentID(number)
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation_node, identity, volume_node)
        index = np.argwhere(mask)[:, ::-1].mean(axis=0)
        places[segmentation.GetNthSegment(number).GetLabelValue()] = (affine @ np.append(index, 1))[:3]
    return places


def assert_same_places(places, expected, matrix=None):
    assert places.keys() == expected.keys()
    assert expected
    for value, place in expected.items():
        moved = place if matrix is None else (matrix @ np.append(place, 1))[:3]
        assert np.linalg.norm(places[value] - moved) < TOLERANCE_MM, value


def test_flipped_and_permuted_volumes_give_the_same_places(run, make_ct):
    node = make_ct((40, 36, 32))
    expected = centers(run(node), node)
    for axes, flips in (((0, 1, 2), FLIPS[1]), ((1, 2, 0), FLIPS[6]), ((2, 1, 0), FLIPS[3]), ((1, 0, 2), FLIPS[7])):
        other = turned(node, axes, flips)
        assert_same_places(centers(run(other), other), expected)


def test_an_oblique_volume_gives_its_structures_where_it_shows_them(run, make_ct):
    node = make_ct((40, 36, 32))
    expected = centers(run(node), node)
    angle = np.radians(20)
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    rotation[:3, 3] = (15, -40, 7)
    oblique = turned(node, (0, 1, 2), (False,) * 3, rotation)
    assert_same_places(centers(run(oblique), oblique), expected, rotation)


def test_a_linear_transform_turns_the_patient_for_the_network_too(run, make_ct):
    """Stored head down and turned upright by a transform: found as if it had been stored upright."""
    import slicer

    node = make_ct((40, 36, 32))
    expected = centers(run(node), node)
    turn = np.diag([1.0, -1.0, -1.0, 1.0])
    upside_down = turned(node, (0, 1, 2), (False,) * 3, turn)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.linalg.inv(turn)))
    upside_down.SetAndObserveTransformNodeID(transform.GetID())
    result = run(upside_down)
    assert result.GetTransformNodeID() == transform.GetID()
    assert_same_places(centers(result, upside_down), expected)
