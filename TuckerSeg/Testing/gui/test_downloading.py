"""A task that is not on this computer: said before, brought by the button, stopped and gone on with, and offline."""

from __future__ import annotations

import pytest

TIMEOUT_S = 600
MEGABYTE = 10**6


@pytest.fixture
def server(serve_task):
    """What the worker, which knows the environment in which it was started, downloads from."""
    return serve_task("total_fastest")


@pytest.fixture
def panel(server, module, until, make_ct):
    """The panel with a volume and a task that is not here."""
    until(lambda: module.panel.context.packages_ready)
    module.panel.context.change(inputVolume=make_ct(), model="total_fastest")
    return module.panel


def finish(panel, until):
    until(lambda: not panel.running.running, TIMEOUT_S, lambda: panel.ui.statusLabel.text)


def segmentations():
    import slicer

    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


def test_what_will_be_downloaded_is_said_before_and_the_button_brings_it(server, panel, until, own_models, said):
    ui = panel.ui
    words = ui.downloadLabel.text
    assert not ui.downloadLabel.isHidden()
    for part in ("135 MB", "127.0.0.1", str(own_models), "Nothing is uploaded"):
        assert part in words
    assert ui.applyButton.text == "Download and segment" and ui.applyButton.enabled
    assert "voxels at the model's spacing" in ui.estimateNoteLabel.text
    assert "135 MB to download" in ui.modelComboBox.currentText
    assert server.requests == []
    ui.applyButton.click()
    assert ui.downloadLabel.isHidden()
    finish(panel, until)
    (node,) = segmentations()
    assert node.GetSegmentation().GetNumberOfSegments() > 0
    assert any("Downloading" in line and "MB" in line for line in said)
    assert any("Running the network" in line for line in said)
    assert len(server.requests) == 1
    assert ui.downloadLabel.isHidden()
    assert ui.applyButton.text == "Segment"
    assert "installed" in ui.modelComboBox.currentText
    until(lambda: panel.consequences.estimate is not None, TIMEOUT_S, lambda: ui.estimateNoteLabel.text)
    assert ui.parametersLabel.text


def test_cancel_leaves_what_has_come_and_the_next_run_goes_on_with_it(server, panel, until, own_models):
    (name,) = server.files
    server.files[name] = bytes(12 * MEGABYTE) + server.files[name]  # a zip may begin anywhere in its file
    server.stop_after = 10 * MEGABYTE  # and then nothing comes: the worker cannot answer, and is killed
    panel.ui.applyButton.click()
    part_file = own_models / "downloads" / f"{name[1:]}.part"
    until(
        lambda: part_file.exists() and part_file.stat().st_size == server.stop_after,
        TIMEOUT_S,
        lambda: panel.ui.statusLabel.text,
    )
    panel.ui.applyButton.click()
    finish(panel, until)
    assert "Cancelled" in panel.ui.statusLabel.text
    assert part_file.exists() and segmentations() == []
    assert "10 MB of it are here already" in panel.ui.downloadLabel.text
    server.stop_after = None
    server.go_on.set()
    panel.ui.applyButton.click()
    finish(panel, until)
    assert len(segmentations()) == 1, panel.ui.statusLabel.text
    (_, first), (_, second) = server.requests
    assert "Range" not in first and int(second["Range"].removeprefix("bytes=").rstrip("-")) > 8 * MEGABYTE


def test_offline_the_status_says_where_the_file_is_and_where_to_put_it(panel, until, own_models, monkeypatch):
    from TuckerSegLib.catalog.entries import task
    from TuckerSegLib.slicer_bridge.panel.labels import BREAK

    monkeypatch.setenv("TUCKERSEG_DOWNLOAD_URL", "https://nowhere.invalid")
    panel.session.close()  # another worker sees it
    panel.ui.applyButton.click()
    finish(panel, until)
    (part,) = task("total_fastest").parts
    told = panel.ui.statusLabel.text.replace(BREAK, "")
    assert part.url in told and f"{own_models} as {part.dataset}.zip" in told
    assert part.url in panel.ui.logText.plainText  # to be copied, with no breaks in it
    assert panel.ui.applyButton.text == "Download and segment" and panel.ui.applyButton.enabled


def test_a_full_disk_is_said_before(panel, monkeypatch):
    from TuckerSegLib.model_zoo import pending

    monkeypatch.setattr(pending, "_free_bytes", lambda folder: 10**6)
    panel.context.choice.forget_pending()
    panel.context.refresh()
    assert "has 1 MB free" in panel.ui.downloadLabel.text
    assert panel.ui.applyButton.enabled
