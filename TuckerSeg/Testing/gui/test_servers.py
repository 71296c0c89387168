"""Servers in the module: added by the user, listed beside the devices, and never taken from a scene."""

from __future__ import annotations

import pytest

SERVER = "127.0.0.1:9"  # nothing listens there
DEVICE = f"server:{SERVER}"


@pytest.fixture
def add_servers(ready):
    """A function that types servers into their line."""
    from PySide6.QtTest import QTest

    def add(text):
        import qt

        ready.ui.serversLineEdit.selectAll()
        QTest.keyClicks(ready.ui.serversLineEdit, text)
        QTest.keyClick(ready.ui.serversLineEdit, qt.Qt.Key_Return)

    yield add
    ready.context.change(device="auto")
    ready.ui.serversLineEdit.text = ""
    ready.hardware._servers._on_typed()


def test_servers_are_listed_chosen_and_removed(ready, add_servers):
    box = ready.ui.deviceComboBox
    assert box.findData(DEVICE) < 0
    add_servers(f"{SERVER} /keys/token of mine; tls://gpu.example.org:443")
    assert box.findData(DEVICE) > 0
    assert box.findData("server:tls://gpu.example.org:443") > 0
    ready.context.change(device=DEVICE)
    chosen = ready.session._server
    assert chosen.options == ["--server", SERVER, "--token-file", "/keys/token of mine"]
    assert SERVER in ready.ui.deviceReasonLabel.text
    assert ready.context.choice.settings().inference.device == "auto", "the server chooses its own"
    assert ready.context.choice.pending is None, "nothing is downloaded here"
    add_servers("tls://gpu.example.org:443")
    assert box.findData(DEVICE) < 0
    assert (ready.context.parameters.device, ready.session._server) == ("auto", None)


def test_what_is_no_address_is_told_and_not_taken(ready, add_servers):
    add_servers("http://x")
    assert "HOST:PORT" in ready.ui.statusLabel.text
    assert ready.hardware._servers.servers == []


def test_a_server_that_a_scene_names_and_nobody_added_gets_nothing(ready):
    ready.context.change(device="server:evil.example.org:9310")
    assert ready.session._server is None
    assert not ready.ui.applyButton.enabled
    assert "not among the servers" in ready.ui.problemLabel.text
    ready.context.change(device="auto")


def test_a_server_that_cannot_be_reached_is_told(ready, add_servers, until):
    add_servers(SERVER)
    ready.context.change(device=DEVICE)
    ready.ui.applyButton.click()
    until(lambda: not ready.running.running)
    assert "cannot be reached" in ready.ui.statusLabel.text
