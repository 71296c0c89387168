"""Which models the panel offers: favorites with their state, all others in a list, imported ones, and refused ones."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def panel(module, make_ct):
    module.panel.context.change(inputVolume=make_ct((16, 16, 16)))
    return module.panel


def offered(panel):
    box = panel.ui.modelComboBox
    return {box.itemData(row): box.itemText(row) for row in range(box.count) if box.itemData(row)}


def listed(panel):
    entries = panel.ui.modelList
    return [entries.item(row) for row in range(entries.count) if not entries.item(row).isHidden()]


def test_favorites_are_offered_with_their_state(panel, installed_total):
    panel.models.look_again()
    panel.context.refresh()
    texts = offered(panel)
    assert list(texts) == ["demo", "total", "total_fast", "total_fastest", "body", "lung_vessels", "total_mr"]
    assert (
        "built in" in texts["demo"] and "(installed)" in texts["total"] and "135 MB to download" in texts["total_fast"]
    )
    box = panel.ui.modelComboBox
    box.currentIndex = box.findData("total")
    box.activated.emit(box.currentIndex)
    assert panel.context.parameters.model == "total"
    assert "License" in box.toolTip and "organs" in box.toolTip and "1.5 mm" in box.toolTip
    assert panel.ui.structuresComboBox.currentText == "All (117)"
    assert panel.ui.downloadLabel.isHidden()


def test_all_others_stand_in_a_list_that_is_searched_by_task_and_structure(panel):
    import qt

    ui = panel.ui
    assert ui.moreModelsFrame.isHidden()
    ui.moreModelsButton.click()
    assert not ui.moreModelsFrame.isHidden()
    titles = [item.text() for item in listed(panel)]
    assert len(titles) > 50 and titles[0] == "CT" and "License key needed" in titles
    ui.modelSearchBox.text = "couinaud"
    items = listed(panel)
    assert [item.text().split(":")[0] for item in items] == ["Liver", "Liver MR"]
    ui.modelSearchBox.text = "prostate"  # a structure of tasks that do not say so in their title
    assert any("Total MR, fast" in item.text() for item in listed(panel))
    ui.modelSearchBox.text = "face"
    (refused, *_) = [item for item in listed(panel) if item.text().startswith("Face")]
    assert not refused.flags() & qt.Qt.ItemIsEnabled
    assert "license key" in refused.toolTip()
    ui.modelList.itemClicked.emit(refused)
    assert panel.context.parameters.model == "demo"
    ui.modelList.itemClicked.emit(items[0])
    assert panel.context.parameters.model == "liver_segments"
    assert ui.moreModelsFrame.isHidden()
    assert "Couinaud" in ui.modelComboBox.currentText


def test_a_task_that_needs_a_license_is_refused_with_the_reason(panel):
    panel.context.change(model="tissue_types")
    assert not panel.ui.applyButton.enabled
    assert "license key" in panel.ui.problemLabel.text
    assert "license key" in panel.ui.modelNoteLabel.text
    assert panel.ui.downloadLabel.isHidden()


def test_structures_of_another_model_are_not_asked_for(panel):
    panel.context.change(model="total", structuresChoice="selected", selectedStructures=["liver"])
    assert panel.context.choice.structures() == ("liver",)
    assert "234 MB" in panel.ui.downloadLabel.text and "1 of 5 networks" in panel.ui.estimateNoteLabel.text
    panel.context.change(model="lung_vessels")
    assert "Check at least one" in panel.ui.problemLabel.text
    panel.context.change(model="total", structuresChoice="group:ribs and sternum")
    assert panel.context.choice.problem() is None
    panel.context.change(model="body")
    assert "no ribs and sternum" in panel.ui.problemLabel.text


def test_a_folder_is_imported_by_a_name_and_offered_from_then_on(panel, until, small_model, own_models):
    ui = panel.ui
    assert ui.importFrame.isHidden()
    panel.context.change(model=small_model)
    assert not ui.importFrame.isHidden()
    assert ui.importNameEdit.text == "small"
    ui.importNameEdit.text = "total"
    ui.importButton.click()
    until(lambda: ui.importButton.text == "Import", 240)
    assert "task of the catalog" in ui.statusLabel.text
    ui.importNameEdit.text = "mine"
    ui.importButton.click()
    until(lambda: panel.context.parameters.model == "mine", 240, lambda: ui.statusLabel.text)
    assert ui.importFrame.isHidden()
    assert "(imported)" in ui.modelComboBox.currentText
    assert (own_models / "imported" / "mine").is_dir() and Path(small_model).is_dir()
    until(lambda: "5 structures" in ui.modelNoteLabel.text, 240, lambda: ui.modelNoteLabel.text)
