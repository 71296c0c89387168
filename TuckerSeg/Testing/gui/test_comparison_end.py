"""A comparison that is taken away fills the scene no more, and one that cannot begin does not go on."""

from __future__ import annotations

import pytest


@pytest.fixture
def comparing(scripted, make_ct, until, monkeypatch):
    """The panel while a comparison goes on, and the listener that waits for its events."""
    listeners, request = [], scripted.session.worker.request

    def spy(kind, on_event, on_lost=None, **fields):
        if kind == "compare":
            listeners.append(on_event)
        return request(kind, on_event, **fields)

    monkeypatch.setattr(scripted.session.worker, "request", spy)
    monkeypatch.setattr(scripted.session.worker, "cancel", lambda number: None)  # its answer is on its way
    scripted.context.change(inputVolume=make_ct())
    scripted.ui.compareButton.click()
    until(lambda: listeners, 30)
    return scripted, lambda **event: listeners[0]({"id": 1, **event})


@pytest.mark.parametrize("how", ["clear", "close"])
def test_rows_that_come_after_it_was_taken_away_are_not_looked_at(comparing, how):
    import slicer

    panel, answer = comparing
    if how == "clear":
        panel.comparing.remove()
    else:
        slicer.mrmlScene.Clear(0)
    before = slicer.mrmlScene.GetNumberOfNodes()
    answer(event="row", row={})
    assert slicer.mrmlScene.GetNumberOfNodes() == before and panel.ui.compareTable.rowCount == 0
    answer(event="cancelled")
    assert panel.ui.compareNoteLabel.text == ""
    assert panel.context.busy_with is None


def test_one_that_cannot_begin_is_told_and_does_not_go_on(scripted, make_ct, monkeypatch):
    from TuckerSegLib.errors import OutputError
    from TuckerSegLib.slicer_bridge.client import volume_transfer

    def fail(*_):
        raise OutputError("The disk is full.")

    scripted.context.change(inputVolume=make_ct())
    monkeypatch.setattr(volume_transfer, "keep_workspace", fail)
    scripted.ui.compareButton.click()
    assert scripted.ui.compareNoteLabel.text == "The disk is full."
    assert not scripted.comparing.running and scripted.context.busy_with is None
    assert scripted.ui.compareButton.text == "Compare" and scripted.ui.compareButton.enabled
