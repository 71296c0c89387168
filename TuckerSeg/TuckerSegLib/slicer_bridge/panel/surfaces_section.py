"""Show 3D: Slicer's own button, which would make all surfaces at once, and the wish to have them after each run.

While the segmentation has no surfaces, the button has no segmentation: pressing it then leaves the work to this
section, which does it between events. As soon as there are some, the button is given the segmentation, and does with it
what it does elsewhere.
"""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from ...records.statistics import RunStatistics
from ..client.delay import Delay
from ..scene.surfaces import SurfaceMaking, has_surfaces, remove_surfaces
from .context import PanelContext
from .section import Section


class SurfacesSection(Section):
    """The button, and the check box beside it."""

    def __init__(self, context: PanelContext):
        self._context, self._button = context, context.ui.show3DButton
        self.making = SurfaceMaking(self._on_progress, self._on_end)
        self._soon = Delay(0, self._show_state)
        self._button.connect("toggled(bool)", self._on_toggled)
        menu = self._button.menu()
        if menu is not None:
            menu.connect("aboutToShow()", self._on_menu)
            menu.connect("aboutToHide()", self._soon.start)
        context.segmented.connect(self._on_segmented)
        context.run_begins.connect(self.making.stop)

    def refresh(self) -> None:
        self._show_state()

    def close(self) -> None:
        self.making.stop()
        self._button.setSegmentationNode(None)

    def _node(self) -> slicer.vtkMRMLSegmentationNode | None:
        parameters = self._context.parameters
        return parameters.outputSegmentation if parameters is not None else None

    def _show_state(self) -> None:
        node = self._node()
        making = node is not None and self.making.node is node
        if has_surfaces(node) and not making:
            self._button.setSegmentationNode(node)
            return
        self._button.setSegmentationNode(None)
        self._button.enabled = node is not None and node.GetSegmentation().GetNumberOfSegments() > 0
        self._button.blockSignals(True)
        self._button.checked = making
        self._button.blockSignals(False)

    def _on_toggled(self, on: bool) -> None:
        node = self._node()
        if self._button.segmentationNode() is None and node is not None:
            if on:
                self.making.start(node)
            else:
                self.making.stop()
                remove_surfaces(node)
        self._soon.start()  # the button has not finished with this press

    def _on_menu(self) -> None:
        """The menu is about the segmentation, with surfaces or without."""
        if self._node() is not None and self.making.node is None:
            self._button.setSegmentationNode(self._node())

    def _on_segmented(self, statistics: RunStatistics, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        parameters = self._context.parameters  # none while a scene is read
        if node is not None and parameters is not None and parameters.show3D:
            self.making.start(node)

    def _on_progress(self, done: int, count: int) -> None:
        slicer.util.showStatusMessage(_("Surfaces: {done} of {count}").format(done=done, count=count), 2000)

    def _on_end(self) -> None:
        self._show_state()
