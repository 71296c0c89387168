"""The switch of the live preview: follows the crosshair, the strength, and everything else that changes a result."""

from __future__ import annotations

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ...errors import TuckerSegError
from ..client.preview import Preview, Wanted
from ..scene.crosshair import crosshair_position
from .context import PanelContext
from .labels import show_if_any
from .section import Section


class PreviewingSection(VTKObservationMixin, Section):
    """Turns the preview on and off."""

    def __init__(self, context: PanelContext):
        VTKObservationMixin.__init__(self)
        self._context, self._ui = context, context.ui
        self.preview = Preview(context.session, self._on_status)
        self._shown: tuple | None = None
        self._crosshair: slicer.vtkMRMLCrosshairNode | None = None
        self._ui.previewCheckBox.connect("toggled(bool)", self._on_toggled)
        context.run_begins.connect(self.preview.clear)

    def refresh(self) -> None:
        if not self._ui.previewCheckBox.checked:
            return
        if self._context.choice.problem() is not None:
            self.preview.clear()
            return
        if self._context.choice.pending is not None:
            self.preview.clear()
            self._on_status(_("not downloaded yet"))
            return
        try:
            settings = self._context.choice.settings()
        except TuckerSegError as error:
            self._on_status(str(error))
            return
        if settings.agreement is not None:
            self._shown = None
            self.preview.clear()
            self._on_status(_("what this preset gives is found by a run"))
            return
        volume_node = self._context.choice.volume
        wanted = (volume_node.GetID(), settings, crosshair_position(volume_node))
        if wanted != self._shown and self._context.session.active is None:
            self._shown = wanted
            self.preview.show(Wanted(volume_node, settings, wanted[2]))

    def close(self) -> None:
        self._ui.previewCheckBox.checked = False

    def _on_toggled(self, on: bool) -> None:
        self._shown = None
        if on:
            self._crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
            if self._crosshair is not None:
                self.addObserver(self._crosshair, vtk.vtkCommand.ModifiedEvent, self._on_crosshair)
            self.refresh()
        else:
            if self._crosshair is not None:
                self.removeObserver(self._crosshair, vtk.vtkCommand.ModifiedEvent, self._on_crosshair)
                self._crosshair = None
            self.preview.clear()

    def _on_crosshair(self, caller: slicer.vtkMRMLNode, event: str) -> None:
        self.refresh()

    def _on_status(self, words: str) -> None:
        show_if_any(self._ui.previewStatusLabel, words)
