"""The segmentation that a run fills, as the volume changes: one patient's is not left selected for another."""

from __future__ import annotations

import slicer

from ..scene.losses import is_of_another_volume
from .context import PanelContext


class OutputSection:
    """Takes the output back to a new segmentation where another volume is chosen than it belongs to."""

    def __init__(self, context: PanelContext):
        self._context = context
        self._volume_node: slicer.vtkMRMLScalarVolumeNode | None = None

    def follow(self) -> None:
        """Another parameter node is shown: what it says is what the user wants."""
        parameters = self._context.parameters
        self._volume_node = parameters.inputVolume if parameters is not None else None

    def follow_volume(self) -> None:
        """The parameter node has changed. To be called outside of a refresh, in which nothing is written."""
        before, now = self._volume_node, self._context.parameters.inputVolume
        self._volume_node = now
        output = self._context.parameters.outputSegmentation
        if now is not None and now is not before and is_of_another_volume(output, now):
            self._context.change(outputSegmentation=None)
