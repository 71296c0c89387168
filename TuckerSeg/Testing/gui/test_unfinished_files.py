"""What killed processes left behind is told beside the cache, and goes with it."""

from __future__ import annotations

import os
import signal

import pytest

from TuckerSegLib.files.leftovers import leftovers


@pytest.mark.skipif(os.name == "nt", reason="needs a signal that nobody can catch, and fork")
def test_the_panel_tells_what_a_killed_process_left_and_clearing_removes_it(module, own_models, tmp_path, monkeypatch):
    from TuckerSegLib.files.leftovers import HeldFolder

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ui = module.panel.ui
    ui.advancedCollapsibleButton.collapsed = False
    module.panel.advanced.enter()
    assert "left behind" not in ui.cacheLabel.text
    own_models.mkdir(exist_ok=True)
    pid = os.fork()
    if pid == 0:
        held = HeldFolder(own_models)
        (held.path / "half").write_bytes(bytes(3_000_000))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    module.panel.advanced.enter()
    assert "3 MB that ended processes left behind" in ui.cacheLabel.text
    monkeypatch.setattr("slicer.util.confirmOkCancelDisplay", lambda question: True)
    ui.cacheClearButton.click()
    assert leftovers(own_models) == []
    assert "left behind" not in ui.cacheLabel.text
