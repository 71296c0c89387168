"""Sequences: whether a volume is the current frame of one, and running over all of its frames."""

from __future__ import annotations

import slicer

from ...records.protocol import FINAL_EVENTS
from ..client.segmentation_run import RunSettings, place_beside
from ..client.session import Session
from ..client.worker_process import Event, Listener


def browser_of(volume_node: slicer.vtkMRMLScalarVolumeNode | None) -> slicer.vtkMRMLSequenceBrowserNode | None:
    """The sequence browser whose proxy a volume is; None for a volume of its own."""
    module = getattr(slicer.modules, "sequences", None)
    if volume_node is None or module is None:
        return None
    return module.logic().GetFirstBrowserNodeForProxyNode(volume_node)


class SequenceRun:
    """All frames of a sequence, one after the other, into a sequence of segmentations.

    Events are those of single runs, with ``frame`` and ``frames``; the last one is the last frame's, or the one
    that ended the run. Frames that are done stay.
    """

    def __init__(
        self,
        session: Session,
        volume_node: slicer.vtkMRMLScalarVolumeNode,
        segmentation_node: slicer.vtkMRMLSegmentationNode | None,
        settings: RunSettings,
        on_event: Listener,
    ):
        self._session, self._volume_node, self._settings = session, volume_node, settings
        self._on_event = on_event
        self._browser = browser_of(volume_node)
        self._frames = self._browser.GetNumberOfItems()
        self._first = self._browser.GetSelectedItemNumber()
        self._proxy = segmentation_node or self._new_proxy()
        self._made = segmentation_node is None
        self._sequence: slicer.vtkMRMLSequenceNode | None = None
        self._frame = 0

    def start(self) -> None:
        """Begin with the first frame; returns at once.

        Raises:
            ImageError: The volume cannot be segmented.
        """
        self._browser.SetSelectedItemNumber(self._frame)
        self._session.start(self._volume_node, self._proxy, self._settings, self._on_frame)

    def _new_proxy(self) -> slicer.vtkMRMLSegmentationNode:
        name = slicer.mrmlScene.GenerateUniqueName(f"{self._volume_node.GetName()} segmentation")
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node.CreateDefaultDisplayNodes()
        place_beside(node, self._volume_node)
        return node

    def _on_frame(self, event: Event) -> None:
        event = {**event, "frame": self._frame, "frames": self._frames}
        if event["event"] not in FINAL_EVENTS:
            self._on_event(event)
            return
        if event["event"] == "result":
            self._keep(event["segmentation_node"])
            if self._frame + 1 < self._frames:
                self._frame += 1
                self.start()
                return
        self._finish(event)

    def _keep(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        if self._sequence is None:
            self._sequence = slicer.mrmlScene.AddNewNodeByClass(
                "vtkMRMLSequenceNode", f"{self._proxy.GetName()} sequence"
            )
            master = self._browser.GetMasterSequenceNode()
            self._sequence.SetIndexName(master.GetIndexName())
            self._sequence.SetIndexUnit(master.GetIndexUnit())
            self._sequence.SetIndexType(master.GetIndexType())
        if node is None:
            self._proxy.GetSegmentation().RemoveAllSegments()
        index = self._browser.GetMasterSequenceNode().GetNthIndexValue(self._frame)
        self._sequence.SetDataNodeAtValue(self._proxy, index)

    def _finish(self, event: Event) -> None:
        if self._sequence is not None:
            self._browser.AddProxyNode(self._proxy, self._sequence, False)
            self._browser.SetSelectedItemNumber(self._first)
            slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(self._browser)
        elif self._made:
            slicer.mrmlScene.RemoveNode(self._proxy)
        self._on_event(event)
