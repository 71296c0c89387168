"""Choosing structures: all, a group, or a list that can be searched."""

from __future__ import annotations

import pytest


@pytest.fixture
def panel(module, until, make_ct):
    """The panel with the demonstration model's 117 structures listed."""
    module.panel.context.change(inputVolume=make_ct())
    until(lambda: module.panel.context.choice.model_facts is not None)
    return module.panel


def choose(panel, data):
    box = panel.ui.structuresComboBox
    box.currentIndex = box.findData(data)
    box.activated.emit(box.currentIndex)


def shown(panel):
    entries = panel.ui.structureList
    return [entries.item(row).text() for row in range(entries.count) if not entries.item(row).isHidden()]


def test_every_structure_is_listed_and_all_are_wanted_at_first(panel):
    assert panel.ui.structuresComboBox.currentText == "All (117)"
    assert len(shown(panel)) == 117
    assert panel.context.choice.structures() is None


def test_a_group_is_its_structures(panel):
    choose(panel, "group:ribs and sternum")
    names = panel.context.choice.structures()
    assert len(names) == 26
    assert all("rib" in name or "costal" in name or "sternum" in name for name in names)


def test_the_list_is_searched_in_words_and_checked_by_clicks(panel):
    import qt

    choose(panel, "selected")
    assert not panel.ui.structuresFrame.isHidden()
    panel.ui.structureSearchBox.text = "left kidney"
    assert "Left kidney" in shown(panel)
    assert len(shown(panel)) < 5
    entries = panel.ui.structureList
    (item,) = [entries.item(row) for row in range(entries.count) if entries.item(row).text() == "Left kidney"]
    item.setCheckState(qt.Qt.Checked)
    assert panel.context.parameters.selectedStructures == ["kidney_left"]
    assert panel.context.choice.structures() == ("kidney_left",)
    panel.ui.structureSearchBox.text = ""
    assert len(shown(panel)) == 117
