"""Sequences: whether a volume is the current frame of one, and running over all of its frames."""

from __future__ import annotations

import traceback

import slicer

from ...errors import ImageError, TuckerSegError
from ...records.protocol import FINAL_EVENTS
from ..client.segmentation_run import RunSettings, in_scene, new_segmentation
from ..client.session import Session
from ..client.volume_transfer import error_event
from ..client.worker_process import Event, Listener
from .contents import is_as_a_run_left_it, remember_contents


def browser_of(volume_node: slicer.vtkMRMLScalarVolumeNode | None) -> slicer.vtkMRMLSequenceBrowserNode | None:
    """The sequence browser whose proxy a volume is; None for a volume of its own."""
    module = getattr(slicer.modules, "sequences", None)
    if volume_node is None or module is None:
        return None
    return module.logic().GetFirstBrowserNodeForProxyNode(volume_node)


class SequenceRun:
    """All frames of a sequence, one after the other, into a sequence of segmentations.

    Events are those of single runs, with ``frame`` and ``frames``; the last one is the last frame's, or the one
    that ended the run. Whatever goes wrong with a frame ends it. Frames that are done stay, and the browser goes back
    to the frame that it showed; nothing else is left in the scene.

    Args:
        segmentation_node: Where to, its user having agreed that what it holds is replaced; None makes a new one. So
            does one that is a frame of another sequence.
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
        self._volumes = self._browser.GetMasterSequenceNode()
        self._frames = self._browser.GetNumberOfItems()
        self._shown_before = self._browser.GetSelectedItemNumber()
        self._proxy = segmentation_node if browser_of(segmentation_node) is None else None
        self._sequence: slicer.vtkMRMLSequenceNode | None = None
        self._frame = 0

    def start(self) -> None:
        """Begin with the first frame; returns at once.

        Raises:
            ImageError: The volume cannot be segmented.
        """
        try:
            self._start_frame()
        except Exception:
            self._browser.SetSelectedItemNumber(self._shown_before)
            raise

    def _start_frame(self) -> None:
        if not in_scene(self._browser):
            raise ImageError("The sequence was removed during the run.")
        self._browser.SetSelectedItemNumber(self._frame)
        may_replace = self._frame == 0  # later, it holds the frame before, unless somebody has edited that
        proxy = self._proxy if in_scene(self._proxy) else None
        self._session.start(self._volume_node, proxy, self._settings, self._on_frame, may_replace)

    def _on_frame(self, event: Event) -> None:
        if event["event"] not in FINAL_EVENTS:
            self._on_event(self._placed(event))
            return
        if event["event"] == "result":
            try:
                self._keep(event["segmentation_node"])
                if self._frame + 1 < self._frames:
                    self._frame += 1
                    self._start_frame()
                    return
            except TuckerSegError as error:
                event = error_event(error)
            except Exception as error:  # nobody else would end the run
                event = {**error_event(error), "details": traceback.format_exc()}
        if event["event"] == "error":
            event = {**event, "message": f"Frame {self._frame + 1} of {self._frames}: {event['message']}"}
        self._finish(self._placed(event))

    def _placed(self, event: Event) -> Event:
        return {**event, "frame": self._frame, "frames": self._frames}

    def _keep(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        """Put the segmentation of a frame into the sequence; an empty one where nothing was found."""
        if node is None and self._proxy is not None and not self._may_be_emptied():
            self._proxy = None
        self._proxy = node or self._proxy or new_segmentation(self._volume_node)
        if node is None:
            self._proxy.GetSegmentation().RemoveAllSegments()
            remember_contents(self._proxy)
        if self._sequence is None:
            name = f"{self._proxy.GetName()} sequence"
            self._sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
            self._sequence.SetIndexName(self._volumes.GetIndexName())
            self._sequence.SetIndexUnit(self._volumes.GetIndexUnit())
            self._sequence.SetIndexType(self._volumes.GetIndexType())
        self._sequence.SetDataNodeAtValue(self._proxy, self._volumes.GetNthIndexValue(self._frame))

    def _may_be_emptied(self) -> bool:
        """Whether the segmentation of the frame before is there still, and as that frame's run left it."""
        return in_scene(self._proxy) and (self._frame == 0 or is_as_a_run_left_it(self._proxy))

    def _finish(self, event: Event) -> None:
        try:
            if in_scene(self._browser):
                if self._sequence is not None:
                    self._browser.AddProxyNode(self._proxy, self._sequence, False)
                self._browser.SetSelectedItemNumber(self._shown_before)
                slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(self._browser)
        finally:
            self._on_event(event)
