"""The line of servers under Hardware: computers that compute for this one. Only those are ever used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

from ...errors import SpecError
from ...records.chosen_servers import ChosenServer, servers_of

SERVERS_SETTING = "TuckerSeg/Servers"  # of the application, not of a scene, which could name anybody's


class ServerList:
    """Servers that the user has typed.

    Args:
        ui: Widgets by their object names.
        on_change: Called when they are others.
        on_refusal: Receives in words why what was typed is not taken.
    """

    def __init__(self, ui: Any, on_change: Callable[[], None], on_refusal: Callable[[str], None]):
        self._on_change, self._on_refusal = on_change, on_refusal
        self._line_edit = ui.serversLineEdit
        self.servers: list[ChosenServer] = []
        text = str(slicer.app.userSettings().value(SERVERS_SETTING) or "")
        self._line_edit.text = text
        try:
            self.servers = servers_of(text)
        except SpecError as error:
            on_refusal(str(error))
        self._line_edit.connect("editingFinished()", self._on_typed)

    def find(self, device: str) -> ChosenServer | None:
        """The server of a device's name; None where the device is none of them."""
        return next((server for server in self.servers if server.device == device), None)

    def _on_typed(self) -> None:
        text = self._line_edit.text
        try:
            servers = servers_of(text)
        except SpecError as error:
            self._on_refusal(str(error))
            return
        slicer.app.userSettings().setValue(SERVERS_SETTING, text)
        if servers != self.servers:
            self.servers = servers
            self._on_change()
