"""Hardware: every device by name, the unusable ones greyed with the reason."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

from ...records.chosen_servers import PREFIX, is_server
from ..client.worker_process import Event
from ..words import bytes_in_words, plain
from .context import PanelContext
from .item_views import disable_entry
from .labels import show_words
from .server_list import ServerList

AUTO = "auto"


class HardwareSection:
    """The device selector."""

    def __init__(self, context: PanelContext):
        self._context, self._ui = context, context.ui
        self._devices: list[dict[str, Any]] | None = None
        self._automatic: dict[str, Any] = {}
        self._listing_requested = False
        self._servers = ServerList(self._ui, self._on_servers, lambda words: context.status.say(words, "bad"))
        self._ui.deviceComboBox.addItem(_("Automatic"), AUTO)
        self._add_servers()
        self._ui.deviceComboBox.connect("activated(int)", self._on_device)

    def refresh(self) -> None:
        server = self._servers.find(self._context.parameters.device)
        if self._context.busy_with is None:
            self._context.session.use_server(server)
        if not self._listing_requested and self._context.packages_ready and server is None:
            self._listing_requested = True
            self._context.ask("devices", self._on_devices, self._on_error)
        box, wanted = self._ui.deviceComboBox, self._context.parameters.device
        if box.findData(wanted) < 0 and (self._devices is not None or is_server(wanted)):
            box.addItem(_("{device} (not on this computer)").format(device=wanted), wanted)
        index = box.findData(wanted)
        box.currentIndex = index if index >= 0 else 0
        box.toolTip = plain(box.currentText)
        show_words(self._ui.deviceReasonLabel, self._reason(wanted))
        self._context.choice.obstacles["device"] = self._obstacle(wanted)

    def enter(self) -> None:
        self._listing_requested = False  # free memory changes, and so may the devices

    def close(self) -> None:
        self._listing_requested = False

    def _add_servers(self) -> None:
        for server in self._servers.servers:
            self._ui.deviceComboBox.addItem(_("Server {address}").format(address=server.address), server.device)

    def _on_servers(self) -> None:
        box, added = self._ui.deviceComboBox, {server.device for server in self._servers.servers}
        for index in reversed(range(box.count)):
            if is_server(box.itemData(index)):
                box.removeItem(index)
        self._add_servers()
        if is_server(self._context.parameters.device) and self._context.parameters.device not in added:
            self._context.change(device=AUTO)
        self._context.refresh()

    def _on_devices(self, event: Event) -> None:
        self._devices, self._automatic = event["devices"], event["automatic"]
        box = self._ui.deviceComboBox
        box.clear()
        box.addItem(self._automatic_title(), AUTO)
        for device in self._devices:
            box.addItem(_title(device), device["id"])
            index = box.count - 1
            box.setItemData(index, plain(device["reason"] or device["offers"]), qt.Qt.ToolTipRole)
            if not device["usable"]:
                disable_entry(box, index)
        self._add_servers()
        self._context.refresh()

    def _automatic_title(self) -> str:
        chosen = next((device for device in self._devices if device["id"] == self._automatic.get("id")), None)
        return _("Automatic: {title}").format(title=_title(chosen)) if chosen else _("Automatic")

    def _reason(self, wanted: str) -> str:
        if self._servers.find(wanted) is not None:
            return _("The volume is sent to {address}, which computes.").format(address=wanted.removeprefix(PREFIX))
        if self._devices is None:
            return ""
        chosen = self._automatic.get("id") if wanted == AUTO else wanted
        device = next((device for device in self._devices if device["id"] == chosen), None)
        if device is None:
            return _("This device is not on this computer. Choose another one.")
        why = self._automatic["reason"] if wanted == AUTO else device["reason"] or device["offers"]
        return f"{_title(device)}: {why}" if device["usable"] else _title(device)  # the selector may cut the title

    def _obstacle(self, wanted: str) -> str:
        """Why nothing can run on the wanted device; empty where it can, or where the devices are not known yet."""
        if is_server(wanted):
            if self._servers.find(wanted) is not None:
                return ""
            words = _("{device} is not among the servers of this computer. Choose another device under Hardware.")
            return words.format(device=plain(wanted))
        if self._devices is None or wanted == AUTO:
            return ""
        device = next((device for device in self._devices if device["id"] == wanted), None)
        if device is None:
            return _("The device {device} is not on this computer. Choose another one under Hardware.").format(
                device=wanted
            )
        if device["usable"]:
            return ""
        words = _("{name} cannot be used: {reason}. Choose another device under Hardware.")
        return words.format(name=device["name"], reason=device["reason"])

    def _on_error(self, event: Event) -> None:
        show_words(self._ui.deviceReasonLabel, event["message"])
        self._context.status.log_error(event)

    def _on_device(self, index: int) -> None:
        self._context.change(device=self._ui.deviceComboBox.itemData(index))


def _title(device: dict[str, Any]) -> str:
    memory = device.get("free_memory_bytes")
    free = _(", {memory} free").format(memory=bytes_in_words(memory)) if memory else ""
    reason = "" if device["usable"] else f": {device['reason']}"
    return f"{device['name']} [{device['id']}]{free}{reason}"
