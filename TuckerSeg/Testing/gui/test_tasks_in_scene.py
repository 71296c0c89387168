"""A task of several networks in the scene: only those that know a wanted structure are run, by script and by button."""

from __future__ import annotations

import pytest

TIMEOUT_S = 600


@pytest.fixture
def panel(installed_total, module, until, make_ct):
    """The panel with a small volume and the task ``total``, whose five networks are on this computer."""
    until(lambda: module.panel.context.packages_ready)
    module.panel.context.change(inputVolume=make_ct((16, 16, 16)), model="total")
    return module.panel


def test_a_script_names_a_task_and_structures_and_gets_them_alone(panel, module):
    events = []
    statistics = module.logic.segment(
        panel.context.parameters.inputVolume, model="total", structures="ribs and sternum, liver", onEvent=events.append
    )
    assert [part.name for part in statistics.parts] == ["organs", "ribs"]
    names = {structure.name for structure in statistics.structures}
    assert names and all(name.split("_")[0] in ("rib", "sternum", "costal", "liver") for name in names)
    assert {event.get("part_name") for event in events} == {None, "organs", "ribs"}


def test_structures_of_two_networks_run_both_and_status_and_table_tell_of_each(panel, until, said):
    from TuckerSegLib.slicer_bridge.scene.statistics_nodes import cost_columns, statistics_of

    panel.context.change(structuresChoice="selected", selectedStructures=["heart", "sacrum"])
    panel.ui.applyButton.click()
    until(lambda: not panel.running.running, TIMEOUT_S, lambda: panel.ui.statusLabel.text)
    statistics = statistics_of(panel.context.parameters.outputSegmentation)
    assert [part.name for part in statistics.parts] == ["vertebrae", "cardiac"]
    for words in ("Vertebrae (1 of 2): ", "Cardiac (2 of 2): "):
        assert any(line.startswith(words) for line in said)
    columns = cost_columns(statistics)
    rows = dict(zip(columns["measure"], columns["this run"]))
    assert rows["vertebrae: patches"] == str(statistics.parts[0].patches)
    assert rows["cardiac: GFLOPs"]


def test_the_estimate_depends_on_the_structures(panel, until):
    until(lambda: panel.consequences.estimate is not None, TIMEOUT_S, lambda: panel.ui.estimateNoteLabel.text)
    whole = panel.consequences.estimate
    assert [part.name for part in whole.parts] == ["organs", "vertebrae", "cardiac", "muscles", "ribs"]
    assert panel.ui.patchesLabel.text == f"{whole.patches} in 5 networks"
    assert panel.ui.patchesLabel.toolTip.count("patches") == 5
    panel.context.change(structuresChoice="selected", selectedStructures=["liver"])
    assert panel.consequences.estimate is None
    until(lambda: panel.consequences.estimate is not None, TIMEOUT_S, lambda: panel.ui.estimateNoteLabel.text)
    assert panel.consequences.estimate.macs_per_volume < whole.macs_per_volume / 4
    assert panel.ui.patchesLabel.text == str(panel.consequences.estimate.patches)


def test_small_blobs_are_removed_where_that_is_checked(panel, until):
    assert (
        panel.context.choice.settings().inference.remove_blobs_mm3 == 0
        and panel.context.choice.settings().inference.skip_empty
    )
    panel.ui.skipEmptyCheckBox.click()
    assert not panel.context.choice.settings().inference.skip_empty
    panel.ui.removeSmallBlobsCheckBox.click()
    panel.context.change(structuresChoice="selected", selectedStructures=["liver"])
    panel.ui.applyButton.click()
    until(lambda: not panel.running.running, TIMEOUT_S, lambda: panel.ui.statusLabel.text)
    assert "blob" in panel.ui.logText.plainText or "blob" in panel.ui.statusLabel.text
