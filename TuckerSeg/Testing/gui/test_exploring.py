"""Before and beside a run: consequences of a rank, the live preview, the method and its calibration."""

from __future__ import annotations

from TuckerSegLib.records.serialization import to_json


def wait_for_estimate(panel, until):
    until(lambda: panel.consequences.estimate is not None and panel.consequences.estimate.seconds is not None)


def test_consequences_are_shown_before_any_run(ready, until):
    wait_for_estimate(ready, until)
    assert ready.ui.parametersRatioLabel.text == "1.00×"
    assert ready.ui.secondsLabel.text.endswith("s")
    assert ready.ui.memoryLabel.text.endswith("B")
    assert ready.ui.agreementLabel.text == "1.000"
    ready.ui.rankSlider.value = 0.3
    assert ready.context.parameters.rankRatio == 0.3
    until(lambda: ready.ui.flopsRatioLabel.text not in ("", "1.00×"))
    assert ready.ui.agreementLabel.text == "not measured"


def test_what_was_foretold_is_what_the_run_then_counts(ready, until):
    from TuckerSegLib.slicer_bridge.scene.statistics_nodes import statistics_of

    ready.ui.rankSlider.value = 0.5
    until(lambda: ready.consequences.estimate is not None and ready.consequences.estimate.agreement is None)
    bound = ready.consequences.estimate  # the model is not calibrated yet
    ready.ui.applyButton.click()
    until(lambda: not ready.running.running)
    statistics = statistics_of(ready.context.parameters.outputSegmentation)
    assert bound.macs_per_patch >= statistics.macs_per_patch
    until(lambda: ready.consequences.estimate is not None and not ready.consequences.estimate.notes)
    estimate = ready.consequences.estimate
    ready.ui.applyButton.click()
    until(lambda: not ready.running.running)
    statistics = statistics_of(ready.context.parameters.outputSegmentation)
    for field in ("parameters", "macs_per_patch", "macs_per_volume", "patches", "original_macs_per_volume"):
        assert getattr(estimate, field) == getattr(statistics, field), field


def test_presets_set_the_agreement_and_a_strength_takes_their_place(ready):
    ready.ui.balancedPresetButton.click()
    assert (ready.context.parameters.agreement, ready.context.parameters.rankRatio) == (0.97, 1.0)
    assert ready.ui.balancedPresetButton.checked
    assert not ready.ui.originalPresetButton.checked
    job = ready.context.choice.settings().job()
    assert (job.agreement, job.steps) == (0.97, ())
    ready.ui.rankSlider.value = 0.42
    assert not ready.ui.balancedPresetButton.checked
    assert ready.context.parameters.agreement == 0
    assert ready.context.choice.settings().job().agreement is None
    ready.ui.balancedPresetButton.click()
    ready.ui.originalPresetButton.click()
    assert ready.context.choice.settings().job().recipe == ()


def test_presets_tell_their_seconds_where_an_earlier_run_does(ready, until):
    until(lambda: ready.consequences.estimate is not None and ready.consequences.estimate.seconds is not None)
    assert ready.ui.originalPresetButton.text.startswith("Original\n")
    assert ready.ui.balancedPresetButton.text == "Balanced\n–"
    question = ready.consequences._question_asked
    event = {"estimate": to_json(ready.consequences.estimate), "agreement_seconds": [None, 4.0, None]}
    ready.consequences._on_estimate(question, event, True)
    assert ready.ui.balancedPresetButton.text == "Balanced\n4.0 s"
    assert ready.ui.carefulPresetButton.text == "Careful\n–"


def test_the_preview_follows_the_rank_and_leaves_nothing(ready, until):
    import slicer

    def previews():
        return [node for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if "preview" in node.GetName()]

    shows = []
    ready.ui.previewCheckBox.checked = True
    until(lambda: previews() and "structures" in ready.ui.previewStatusLabel.text)
    (node,) = previews()
    assert not node.GetSaveWithScene()
    assert node.GetHideFromEditors()
    node.AddObserver("AnyEvent", lambda *_: shows.append(1))
    ready.ui.rankSlider.value = 0.3
    until(lambda: shows and "structures" in ready.ui.previewStatusLabel.text)
    assert previews() == [node]
    ready.ui.previewCheckBox.checked = False
    assert previews() == slicer.util.getNodesByClass("vtkMRMLSegmentationDisplayNode") == []
    assert ready.ui.previewStatusLabel.text == ""


def test_the_preview_moves_with_the_crosshair(module, until, make_ct, make_model_folder):
    import slicer

    ready = module.panel
    ready.context.change(inputVolume=make_ct((64, 64, 64)), model=str(make_model_folder("Dataset003_Patch")))
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCrosshairRAS(40, 40, 40)
    ready.ui.previewCheckBox.checked = True
    until(lambda: "structures" in ready.ui.previewStatusLabel.text, shown=lambda: ready.ui.previewStatusLabel.text)
    node = ready.previewing.preview.node

    def bounds():
        node_bounds = [0.0] * 6
        node.GetRASBounds(node_bounds)
        return node_bounds

    first = bounds()
    assert first[1] < 110
    crosshair.SetCrosshairRAS(150, 150, 150)
    until(lambda: bounds() != first)
    assert bounds()[0] > 60


def test_only_the_latest_preview_is_shown(ready, until):
    ready.ui.previewCheckBox.checked = True
    for value in (0.9, 0.8, 0.7, 0.6, 0.5):
        ready.ui.rankSlider.value = value
    until(lambda: "structures" in ready.ui.previewStatusLabel.text)
    assert ready.previewing.preview._wanted.settings.strength == 0.5


def test_what_a_comparison_measured_is_shown_with_the_rank(ready, until):
    ready.ui.compareRanksEdit.text = "0.4"
    ready.ui.compareButton.click()
    until(lambda: not ready.comparing.running)
    ready.ui.rankSlider.value = 0.4
    until(lambda: "measured on ct" in ready.ui.estimateNoteLabel.text, shown=lambda: ready.ui.estimateNoteLabel.text)
    assert float(ready.ui.agreementLabel.text) <= 1


def test_calibration_and_refit_are_asked_for_and_told_in_the_statistics(ready, until):
    from TuckerSegLib.slicer_bridge.scene.statistics_nodes import statistics_of

    ui = ready.ui
    assert not ui.refitCheckBox.enabled  # the original network has nothing to fit
    ui.rankSlider.value = 0.5
    assert ui.calibrateComboBox.enabled and ui.refitCheckBox.enabled
    ui.refitCheckBox.checked = True
    ui.applyButton.click()
    until(lambda: not ready.running.running)
    statistics = statistics_of(ready.context.parameters.outputSegmentation)
    assert "calibrated" in statistics.compression and "refit" in statistics.compression
    ui.calibrateComboBox.currentIndex = ui.calibrateComboBox.findData("none")
    ui.calibrateComboBox.activated.emit(ui.calibrateComboBox.currentIndex)
    assert ready.context.parameters.calibrate == "none"
    assert not ui.refitCheckBox.enabled
    ui.applyButton.click()
    until(lambda: not ready.running.running)
    statistics = statistics_of(ready.context.parameters.outputSegmentation)
    assert "by weights alone" in statistics.compression and "refit" not in statistics.compression


def test_the_method_of_the_strength_is_chosen_where_there_are_several(ready, until):
    from TuckerSegLib.compression.methods import METHODS

    context, box = ready.context, ready.ui.methodComboBox

    def offered(*methods):
        context.choice.model_facts = {**context.choice.model_facts, "methods": [*methods]}
        context.refresh()
        return [box.itemData(index) for index in range(box.count)]

    until(lambda: context.choice.model_facts is not None)
    assert context.choice.model_facts["methods"] == [*METHODS]
    assert list(METHODS)[0] == "tucker"
    assert offered("tucker") == ["tucker"] and not box.visible
    assert offered("tucker", "second") == ["tucker", "second"] and box.visible
    box.currentIndex = 1
    box.activated.emit(1)
    assert ready.context.parameters.method == "second"
    ready.ui.rankSlider.value = 0.5
    (step,) = context.choice.settings().job().recipe
    assert (step.method, step.strength, step.spec) == ("second", 0.5, {})
