"""Only around these structures: offered where a fast network can find them, told with its download, and run."""

from __future__ import annotations

import pytest

from TuckerSegLib.catalog.entries import task

TIMEOUT_S = 600
TASK = "total_v3_fast"


@pytest.fixture
def panel(installed_with_fast, module, until, make_ct):
    """The panel with a volume and a task for which a fast network is known; both are on this computer."""
    until(lambda: module.panel.context.packages_ready)
    module.panel.context.change(inputVolume=make_ct(), model=TASK)
    return module.panel


def test_it_is_offered_for_structures_of_a_task_that_has_a_fast_one(panel):
    box = panel.ui.cropCheckBox
    assert box.isHidden()
    panel.context.change(structuresChoice="selected", selectedStructures=["liver"])
    assert not box.isHidden()
    assert panel.context.choice.settings().crop is None
    box.click()
    assert panel.context.choice.settings().crop == "auto"
    panel.context.change(structuresChoice="all")
    assert box.isHidden()
    assert panel.context.choice.settings().crop is None
    panel.context.change(structuresChoice="selected", model="lung_nodules", selectedStructures=["lung_nodules"])
    assert box.isHidden(), "it is cropped always"
    panel.context.change(model="demo", selectedStructures=["liver"])
    assert box.isHidden(), "no fast network is known"


def test_the_fast_network_is_counted_among_the_downloads(panel):
    panel.context.change(model="total", structuresChoice="selected", selectedStructures=["heart"])
    assert panel.context.choice.pending is not None
    before = panel.context.choice.pending.parts
    panel.context.change(model="total_mr", selectedStructures=["liver"])
    without = panel.context.choice.pending.parts
    panel.ui.cropCheckBox.click()
    assert panel.context.choice.pending.parts == (*without, *task("total_mr_fast").parts)
    panel.context.change(model="total", selectedStructures=["heart"])
    assert panel.context.choice.pending.parts == before, "the 6 mm network is here"


def test_a_cropped_run_says_what_was_computed_and_the_estimate_is_a_bound(panel, module, until):
    ct = panel.context.parameters.inputVolume
    segmented = module.logic.segment(ct, model="total_v3_fastest", output_grid="nearest").structures
    panel.context.change(structuresChoice="selected", selectedStructures=[each.name for each in segmented])
    panel.ui.cropCheckBox.click()
    until(lambda: panel.ui.patchesLabel.text, TIMEOUT_S, lambda: panel.ui.estimateNoteLabel.text)
    assert panel.ui.patchesLabel.text.startswith("≤ ")
    assert "box" in panel.ui.patchesLabel.toolTip
    panel.ui.applyButton.click()
    until(lambda: not panel.running.running, TIMEOUT_S, lambda: panel.ui.statusLabel.text)
    assert "was computed" in panel.ui.logText.plainText
    assert "Only a box of" in panel.ui.resultsLabel.text
