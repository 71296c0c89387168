"""Show 3D: Slicer's own button; surfaces come one after the other, and the application goes on meanwhile."""

from __future__ import annotations

import numpy as np
import pytest

SURFACE = "Closed surface"
COUNT = 8


@pytest.fixture
def segmentation_node(module, make_ct):
    """Eight cubes in one label map, chosen as the panel's output."""
    import slicer

    from TuckerSegLib.slicer_bridge.scene.segmentations import FoundLabel, LabelBox, show_labels

    labels = np.zeros((40, 44, 48), np.uint8)
    for number in range(COUNT):
        z, y, x = (16 * (number >> shift & 1) for shift in range(3))
        labels[z : z + 12, y : y + 10, x : x + 14] = number + 1  # some of them at the border
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "cubes")
    volume_node = make_ct()
    found = [FoundLabel(number + 1, f"cube {number}") for number in range(COUNT)]
    show_labels(node, volume_node, LabelBox(labels, (0, 0, 0)), found)
    module.panel.context.change(inputVolume=volume_node, outputSegmentation=node)
    module.panel.context.refresh()
    return node


def surfaces(node):
    segmentation = node.GetSegmentation()
    segments = [segmentation.GetNthSegment(number) for number in range(segmentation.GetNumberOfSegments())]
    return [segment.GetRepresentation(SURFACE) for segment in segments if segment.GetRepresentation(SURFACE)]


def test_it_is_slicers_own_button_and_does_not_make_all_at_once(module, segmentation_node, until, slicer_app):
    import slicer

    button = module.panel.ui.show3DButton
    assert isinstance(button, slicer.qMRMLSegmentationShow3DButton)
    assert button.enabled and not button.checked
    button.click()
    counts = [len(surfaces(segmentation_node))]
    until(lambda: counts.append(len(surfaces(segmentation_node))) or module.panel.surfaces.making.node is None, 60)
    assert counts[0] == 0, "nothing is made before the click has returned"
    assert max(np.diff(counts)) == 1, "events came between the surfaces"
    assert counts[-1] == COUNT
    assert button.checked and button.segmentationNode() is segmentation_node
    assert segmentation_node.GetDisplayNode().GetPreferredDisplayRepresentationName3D() == SURFACE
    button.click()  # from now on it does itself what it does
    slicer_app.processEvents()
    assert surfaces(segmentation_node) == [] and not button.checked and button.enabled


def test_the_surfaces_are_those_that_slicer_makes(module, segmentation_node, until):
    import slicer

    expected = slicer.vtkSegmentation()
    expected.DeepCopy(segmentation_node.GetSegmentation())
    assert expected.CreateRepresentation(SURFACE)
    module.panel.ui.show3DButton.click()
    until(lambda: module.panel.surfaces.making.node is None, 60)
    for number, surface in enumerate(surfaces(segmentation_node)):
        other = expected.GetNthSegment(number).GetRepresentation(SURFACE)
        assert surface.GetNumberOfPoints() == other.GetNumberOfPoints() > 100
        np.testing.assert_allclose(surface.GetBounds(), other.GetBounds(), atol=1e-3)


def test_pressing_again_stops_and_leaves_no_surface(module, segmentation_node, until, slicer_app):
    button = module.panel.ui.show3DButton
    button.click()
    until(lambda: len(surfaces(segmentation_node)) > 1, 60)
    button.click()
    slicer_app.processEvents()
    assert module.panel.surfaces.making.node is None
    assert surfaces(segmentation_node) == [] and not button.checked


@pytest.mark.parametrize("how", ["a run", "the scene", "another"])
def test_surfaces_of_which_some_are_missing_do_not_stay(module, segmentation_node, until, how):
    import slicer

    making = module.panel.surfaces.making
    making.start(segmentation_node)
    until(lambda: len(surfaces(segmentation_node)) > 1, 60)
    assert len(surfaces(segmentation_node)) < COUNT
    if how == "a run":
        module.panel.context.run_begins.emit()
    elif how == "the scene":
        module.panel.close()
    else:
        making.start(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "another"))
    assert surfaces(segmentation_node) == [], "Slicer's button would take them for all"


def test_a_node_that_goes_meanwhile_ends_it(module, segmentation_node, until):
    import slicer

    module.panel.ui.show3DButton.click()
    until(lambda: len(surfaces(segmentation_node)) > 1, 60)
    slicer.mrmlScene.RemoveNode(segmentation_node)
    until(lambda: module.panel.surfaces.making.node is None, 60)
    module.panel.context.refresh()
    assert not module.panel.ui.show3DButton.enabled


def test_surfaces_are_made_after_a_run_where_they_are_wanted(ready, until):
    ready.context.change(show3D=True)
    ready.ui.applyButton.click()
    until(lambda: not ready.running.running, shown=lambda: ready.ui.statusLabel.text)
    node = ready.context.parameters.outputSegmentation
    until(lambda: ready.surfaces.making.node is None, 60)
    assert len(surfaces(node)) == node.GetSegmentation().GetNumberOfSegments() > 0
    assert ready.ui.show3DButton.checked
