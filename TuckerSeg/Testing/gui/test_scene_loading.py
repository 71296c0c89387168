"""Which volume is segmented after a scene was loaded, and what opening the module chooses: never another patient's."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import numpy as np
import pytest

MODULE_FILE = Path(__file__).resolve().parents[2] / "TuckerSeg.py"


@pytest.fixture
def two_patients(module, make_ct):
    """Volumes A and B, of which B is chosen."""
    volumes = make_ct(name="A", seed=1), make_ct(name="B", seed=2)
    module.panel.context.change(inputVolume=volumes[1])
    return volumes


def save_and_load(path):
    import slicer

    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(path))


def add_volume(array, kind="vtkMRMLScalarVolumeNode"):
    import slicer

    return slicer.util.addVolumeFromArray(array, name="input", nodeClassName=kind)


def show(volume_node):
    import slicer

    slicer.util.setSliceViewerLayers(background=volume_node)


def reference(module, name="inputVolume"):
    return module.logic.getParameterNode().parameterNode.GetNodeReferenceID(name)


@pytest.mark.each_release
@pytest.mark.parametrize("is_open", [True, False])
def test_a_loaded_scene_brings_back_the_volume_that_was_chosen(module, two_patients, tmp_path, is_open):
    if not is_open:
        module.container.exit()
    save_and_load(tmp_path / "scene.mrb")
    module.container.enter()
    assert module.panel.context.choice.volume.GetName() == "B"
    assert module.panel.ui.inputVolumeSelector.currentNode().GetName() == "B"
    assert module.logic.getParameterNode().inputVolume.GetName() == "B"


def test_a_script_reads_the_loaded_choice_without_the_panel(slicer_app, make_ct, tmp_path):
    import host

    host.load(str(MODULE_FILE))
    logic = sys.modules["TuckerSeg"].TuckerSegLogic()
    logic.getParameterNode()
    _, logic.getParameterNode().inputVolume = make_ct(name="A"), make_ct(name="B")
    save_and_load(tmp_path / "scene.mrb")
    assert logic.getParameterNode().inputVolume.GetName() == "B"


def test_a_scene_that_is_added_brings_its_own_choice_and_not_the_volume_of_the_same_id(module, make_ct, tmp_path):
    import slicer

    module.panel.context.change(inputVolume=make_ct(name="of the file", seed=1))
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    here = make_ct(name="here", seed=2)
    module.panel.context.change(inputVolume=here)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert module.panel.context.parameters.inputVolume.GetName() == "of the file"
    assert module.panel.ui.inputVolumeSelector.currentNode().GetName() == "of the file"


def test_nothing_is_written_while_a_scene_is_read(module, two_patients, tmp_path):
    import slicer

    followed, context = [], module.panel.context
    scene = slicer.mrmlScene
    tag = scene.AddObserver(scene.NewSceneEvent, lambda *_: followed.append(context.parameters))
    save_and_load(tmp_path / "scene.mrb")
    scene.RemoveObserver(tag)
    assert followed == [None]


def test_a_run_ends_well_though_a_scene_was_added_meanwhile(module, ready, until, tmp_path, make_ct):
    import slicer

    from TuckerSegLib.slicer_bridge.scene.losses import volume_of

    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    volume = ready.context.parameters.inputVolume
    ready.ui.applyButton.click()
    module.container.exit()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    until(lambda: not ready.running.running)
    (node,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert node.GetName() == "ct segmentation" and volume_of(node) is volume
    parameters = ready.context.parameters
    assert parameters.inputVolume is not volume and parameters.outputSegmentation is None, "that of the scene is chosen"
    assert ready.ui.statusLabel.text.startswith("ct segmentation: ")


def test_opening_the_module_proposes_what_the_slice_views_show_and_writes_nothing(module, make_ct):
    make_ct(name="first"), show(make_ct(name="shown"))
    module.container.enter()
    assert module.panel.ui.inputVolumeSelector.currentNode().GetName() == "shown"
    assert module.panel.context.choice.problem() is None
    assert reference(module) is None


def test_nothing_is_proposed_where_the_views_show_none_or_several_or_a_label_map(module, make_ct):
    import slicer

    label_map = add_volume(np.zeros((8, 8, 8), np.uint8), "vtkMRMLLabelMapVolumeNode")
    volumes = make_ct(name="A"), make_ct(name="B")
    for shown in ((None, None), volumes, (label_map, label_map)):
        views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        for view, volume in zip(views, (*shown, shown[0])):
            view.SetBackgroundVolumeID(volume.GetID() if volume is not None else None)
        module.container.enter()
        assert module.panel.context.choice.volume is None
        assert module.panel.ui.inputVolumeSelector.currentNode() is None


def test_opening_the_module_leaves_what_was_chosen(module, two_patients):
    show(two_patients[0])
    module.container.exit()
    module.container.enter()
    assert module.panel.context.parameters.inputVolume is two_patients[1]


def test_a_proposal_follows_the_views_until_it_is_used_or_refused(module, until, small_model, make_ct):
    panel, container = module.panel, module.container
    until(lambda: panel.context.packages_ready)
    first, second = make_ct(name="first"), make_ct(name="second")
    for volume in (first, second):
        show(volume)
        container.enter()
        assert panel.context.choice.volume is volume
    panel.ui.inputVolumeSelector.setCurrentNode(None)
    assert panel.context.choice.volume is None
    assert not panel.ui.applyButton.enabled
    container.enter()
    panel.context.change(model=small_model)
    panel.ui.applyButton.click()
    assert reference(module) == second.GetID()
    until(lambda: not panel.running.running)


def test_a_proposed_volume_that_is_removed_is_no_longer_proposed(module, make_ct):
    import slicer

    volume = make_ct()
    show(volume)
    module.container.enter()
    slicer.mrmlScene.RemoveNode(volume)
    module.panel.context.refresh()
    assert module.panel.context.choice.volume is None


@pytest.mark.parametrize("name", ["inputVolume", "outputSegmentation"])
def test_a_node_that_is_removed_is_no_longer_chosen(module, make_ct, name):
    import slicer

    kind = {"inputVolume": "vtkMRMLScalarVolumeNode", "outputSegmentation": "vtkMRMLSegmentationNode"}[name]
    node = slicer.mrmlScene.AddNewNodeByClass(kind)
    module.panel.context.change(**{name: node})
    slicer.mrmlScene.RemoveNode(node)
    assert getattr(module.panel.context.parameters, name) is None


@pytest.mark.each_release
def test_openings_and_scenes_leave_no_observers_behind(module):
    import slicer

    node = module.logic.getParameterNode().parameterNode
    add, remove, tags = node.AddObserver, node.RemoveObserver, set()

    def adding(*arguments):
        tag = add(*arguments)
        tags.add(tag)
        return tag

    def removing(tag):
        tags.discard(tag)
        remove(tag)

    node.AddObserver, node.RemoveObserver = adding, removing
    counts = []
    for _ in range(4):
        module.container.exit()
        module.container.enter()
        slicer.mrmlScene.Clear(0)
        gc.collect()
        counts.append(len(tags))
    assert counts[-1] == counts[0] > 0
