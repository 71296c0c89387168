"""Export as DICOM SEG: one press, and the segmentation is in Slicer's DICOM database."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ...errors import TuckerSegError
from ..client.volume_transfer import error_event
from ..scene.dicom_export import export_to_database
from .context import PanelContext
from .section import Section


class ExportSection(Section):
    """The button."""

    def __init__(self, context: PanelContext):
        self._context = context
        context.ui.exportDicomButton.connect("clicked(bool)", self._on_export)

    def refresh(self) -> None:
        node = self._context.parameters.outputSegmentation
        has_segments = node is not None and node.GetSegmentation().GetNumberOfSegments() > 0
        self._context.ui.exportDicomButton.enabled = has_segments and self._context.busy_with is None

    def _on_export(self, *_arguments: Any) -> None:
        node, status = self._context.parameters.outputSegmentation, self._context.status
        status.say(_("Writing the DICOM SEG…"))
        slicer.app.processEvents(qt.QEventLoop.ExcludeUserInputEvents)  # the words are painted; no other press comes
        try:
            export_to_database(node)
        except TuckerSegError as error:
            status.say(str(error), "bad")
            status.log_error(error_event(error))
        else:
            words = _("{name} is in Slicer's DICOM database, in the study of its volume.")
            status.say(words.format(name=node.GetName()))
