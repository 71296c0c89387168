"""Hardware: every device by name, the unusable ones greyed with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

from ...printable import printable
from ..client.worker_process import Event
from ..words import bytes_in_words, plain

if TYPE_CHECKING:
    from .panel import Panel

AUTO = "auto"
FLAGS_ROLE = qt.Qt.UserRole - 1  # where Qt's item model keeps an entry's flags; 0 greys it


class HardwareSection:
    """The device selector."""

    def __init__(self, panel: Panel):
        self._panel, self._ui = panel, panel.ui
        self._devices: list[dict[str, Any]] | None = None
        self._automatic: dict[str, Any] = {}
        self._asked = False
        self._ui.deviceComboBox.addItem(_("Automatic"), AUTO)
        self._ui.deviceComboBox.connect("activated(int)", self._on_device)

    def refresh(self) -> None:
        if not self._asked and self._panel.dependencies.ready:
            self._asked = True
            self._panel.ask("devices", self._on_devices, self._on_error)
        box, wanted = self._ui.deviceComboBox, self._panel.parameters.device
        if box.findData(wanted) < 0 and self._devices is not None:
            box.addItem(_("{device} (not on this computer)").format(device=wanted), wanted)
        index = box.findData(wanted)
        box.currentIndex = index if index >= 0 else 0
        box.toolTip = plain(box.currentText)
        self._ui.deviceReasonLabel.text = printable(self._reason(wanted))

    def enter(self) -> None:
        self._asked = False  # free memory changes, and so may the devices

    def close(self) -> None:
        self._asked = False

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
                box.setItemData(index, 0, FLAGS_ROLE)
        self._panel.refresh()

    def _automatic_title(self) -> str:
        chosen = next((device for device in self._devices if device["id"] == self._automatic.get("id")), None)
        return _("Automatic: {title}").format(title=_title(chosen)) if chosen else _("Automatic")

    def _reason(self, wanted: str) -> str:
        if self._devices is None:
            return ""
        if wanted == AUTO:
            return self._automatic.get("reason", "")
        device = next((device for device in self._devices if device["id"] == wanted), None)
        if device is None:
            return _("This device is not on this computer. Choose another one.")
        return device["reason"] or device["offers"]

    def _on_error(self, event: Event) -> None:
        self._ui.deviceReasonLabel.text = printable(event["message"])
        self._panel.running.log_error(event)

    def _on_device(self, index: int) -> None:
        self._panel.change(device=self._ui.deviceComboBox.itemData(index))


def _title(device: dict[str, Any]) -> str:
    memory = device.get("free_memory_bytes")
    free = _(", {memory} free").format(memory=bytes_in_words(memory)) if memory else ""
    reason = "" if device["usable"] else f": {device['reason']}"
    return f"{device['name']} [{device['id']}]{free}{reason}"
