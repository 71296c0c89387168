"""The switch of the live preview: follows the crosshair, the rank, and everything else that changes a result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import slicer
import vtk
from slicer.i18n import tr as _

from ...errors import TuckerSegError
from ...printable import printable
from ..client.preview import Preview, Wanted

if TYPE_CHECKING:
    from .panel import Panel


class PreviewingSection:
    """Turns the preview on and off."""

    def __init__(self, panel: Panel):
        self._panel, self._ui = panel, panel.ui
        self.preview = Preview(panel.session, self._on_status)
        self._shown: tuple | None = None
        self._crosshair: slicer.vtkMRMLCrosshairNode | None = None
        self._ui.previewCheckBox.connect("toggled(bool)", self._on_toggled)

    def refresh(self) -> None:
        if not self._ui.previewCheckBox.checked:
            return
        if self._panel.inputs.problem() is not None:
            self.preview.clear()
            return
        if self._panel.downloading.pending is not None:
            self.preview.clear()
            self._on_status(_("not downloaded yet"))
            return
        try:
            settings = self._panel.settings()
        except TuckerSegError as error:
            self._on_status(str(error))
            return
        volume_node = self._panel.parameters.inputVolume
        wanted = (volume_node.GetID(), settings, crosshair_position(volume_node))
        if wanted != self._shown and self._panel.session.active is None:
            self._shown = wanted
            self.preview.show(Wanted(volume_node, settings, wanted[2]))

    def enter(self) -> None:
        """Nothing to do: the preview is off until it is asked for."""

    def close(self) -> None:
        self._ui.previewCheckBox.checked = False

    def _on_toggled(self, on: bool) -> None:
        self._shown = None
        if on:
            self._crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
            if self._crosshair is not None:
                self._panel.addObserver(self._crosshair, vtk.vtkCommand.ModifiedEvent, self._on_crosshair)
            self.refresh()
        else:
            if self._crosshair is not None:
                self._panel.removeObserver(self._crosshair, vtk.vtkCommand.ModifiedEvent, self._on_crosshair)
                self._crosshair = None
            self.preview.clear()

    def _on_crosshair(self, caller: slicer.vtkMRMLNode, event: str) -> None:
        self.refresh()

    def _on_status(self, words: str) -> None:
        self._ui.previewStatusLabel.text = printable(words)


def crosshair_position(volume_node: slicer.vtkMRMLScalarVolumeNode) -> tuple[float, float, float]:
    """The crosshair in RAS mm where it lies in the volume; else the volume's middle."""
    bounds = [0.0] * 6
    volume_node.GetRASBounds(bounds)
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    point = tuple(crosshair.GetCrosshairRAS()) if crosshair is not None else (0.0, 0.0, 0.0)
    if all(low <= value <= high for value, low, high in zip(point, bounds[::2], bounds[1::2])):
        return point
    return tuple((low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2]))
