"""Which model the panel begins with, and that the demonstration network is not taken for one for patients."""

from __future__ import annotations

import pytest


def open_again(module):
    module.container.exit()
    module.container.enter()
    return module.panel.context.parameters


@pytest.fixture(autouse=True)
def nothing_used_before(slicer_app):
    slicer_app.userSettings().remove("TuckerSeg/LastModel")
    yield
    slicer_app.userSettings().remove("TuckerSeg/LastModel")


def test_the_demonstration_network_has_a_short_title_and_its_warning_beside_it(module, demo_folder, until):
    ui, context = module.panel.ui, module.panel.context
    assert context.parameters.model == "demo"
    assert ui.modelComboBox.currentText == "Demonstration network (built in)"
    assert "not for clinical use" in ui.modelWarningLabel.text and not ui.modelWarningLabel.isHidden()
    assert "color" in ui.modelWarningLabel.styleSheet
    until(lambda: "117 structures" in ui.modelNoteLabel.text, 60)
    assert not ui.modelWarningLabel.isHidden()
    context.change(model="total_fast")
    assert ui.modelWarningLabel.isHidden()
    context.change(model=str(demo_folder))  # the same, by its path
    until(lambda: not ui.modelWarningLabel.isHidden(), 60)
    assert "not for clinical use" in ui.modelWarningLabel.text


def test_a_network_for_patients_that_is_here_is_proposed_until_the_user_chooses(module, install_tasks):
    ui = module.panel.ui
    assert open_again(module).model == "demo"
    install_tasks("total_fast", "body")
    assert open_again(module).model == "total_fast"
    assert ui.modelComboBox.currentText.startswith("Total, fast")
    ui.modelComboBox.currentIndex = ui.modelComboBox.findData("demo")
    ui.modelComboBox.activated.emit(ui.modelComboBox.currentIndex)
    assert open_again(module).model == "demo"


def test_the_model_that_was_used_last_is_proposed_where_it_is_still_here(module, install_tasks, until, make_ct):
    import slicer

    panel = module.panel
    install_tasks("total_fast", "total_fastest")
    panel.session.close()  # another worker sees them
    panel.context.change(inputVolume=make_ct(), model="total_fastest")
    panel.ui.applyButton.click()
    until(lambda: not panel.running.running, shown=lambda: panel.ui.statusLabel.text)
    assert open_again(module).model == "total_fastest"
    slicer.mrmlScene.Clear(0)
    assert open_again(module).model == "total_fastest"
    install_tasks("total_fast")  # and the other is not here any more
    slicer.mrmlScene.Clear(0)
    assert open_again(module).model == "total_fast"
