"""The live preview: the one patch around the crosshair at the present strength, as a temporary segmentation.

Latest wins: what was asked for before and has not come yet is dropped. Nothing of it stays in the scene.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import slicer

from ...errors import TuckerSegError
from ...records.protocol import FINAL_EVENTS, VolumeFile
from ...records.serialization import to_json
from ..scene.removal import remove_with_display
from ..scene.segmentations import FoundLabel, show_labels
from ..scene.volumes import shape_of
from .delay import Delay
from .label_file import read_box
from .segmentation_run import RunSettings
from .session import Session
from .volume_transfer import VolumeTransfer
from .worker_process import Event

DEBOUNCE_MS = 60
NODE_NAME = "TuckerSeg preview"


@dataclass(frozen=True, eq=False)
class Wanted:
    """A preview that is to be computed: of a volume, with these settings, around a point in RAS mm."""

    volume_node: slicer.vtkMRMLScalarVolumeNode
    settings: RunSettings
    point: tuple[float, float, float]


class Preview:
    """Shows one patch at a time.

    Args:
        on_status: Receives a few words: busy, seconds taken, or what went wrong.
    """

    def __init__(self, session: Session, on_status: Callable[[str], None]):
        self._session, self._on_status = session, on_status
        self._wanted: Wanted | None = None
        self._node: slicer.vtkMRMLSegmentationNode | None = None
        self._transfer: VolumeTransfer | None = None
        self._count = 0
        self._soon = Delay(DEBOUNCE_MS, self._begin)

    @property
    def node(self) -> slicer.vtkMRMLSegmentationNode | None:
        """The temporary segmentation, while there is one."""
        return self._node

    def show(self, wanted: Wanted) -> None:
        """Show this soon; replaces what was wanted before."""
        self._wanted = wanted
        self._soon.start()

    def clear(self) -> None:
        """Stop, and take the temporary segmentation out of the scene."""
        self._wanted = None
        self._soon.stop()
        if self._transfer is not None:
            self._transfer.stop()
            self._transfer = None  # it holds the volume
        if self._node is not None and self._node.GetScene() is not None:
            remove_with_display(self._node)
        self._node = None
        self._on_status("")

    def _begin(self) -> None:
        wanted = self._wanted
        if wanted is None or self._session.active is not None:
            return
        self._on_status("…")
        if self._transfer is not None:
            self._transfer.stop()
        try:
            self._transfer = VolumeTransfer(
                self._session.worker.folder,
                lambda file: self._request(wanted, file),
                lambda error: self._on_status(str(error)),
            )
            self._transfer.start(wanted.volume_node)
        except TuckerSegError as error:
            self._on_status(str(error))

    def _request(self, wanted: Wanted, file: VolumeFile) -> None:
        worker = self._session.worker
        self._count += 1
        labels = worker.folder / f"preview-{self._count}.npy"
        worker.request(
            "preview",
            lambda event: self._on_event(wanted, labels, event),
            on_lost=lambda event: self._on_lost(wanted, labels, event),
            job=to_json(wanted.settings.job()),
            volume=to_json(file),
            point=list(wanted.point),
            labels=str(labels),
        )

    def _on_lost(self, wanted: Wanted, labels: Path, event: Event) -> None:
        if wanted is not self._wanted or not self._transfer.repeat():
            self._on_event(wanted, labels, event)

    def _on_event(self, wanted: Wanted, labels: Path, event: Event) -> None:
        if event["event"] == "result" and wanted is self._wanted:
            self._show(wanted, event)
        elif event["event"] == "error" and wanted is self._wanted:
            self._on_status(event["message"])
        if event["event"] in FINAL_EVENTS:
            with contextlib.suppress(OSError):
                labels.unlink(missing_ok=True)

    def _show(self, wanted: Wanted, event: Event) -> None:
        if wanted.volume_node.GetScene() is None:
            return
        shape = shape_of(wanted.volume_node)
        box = read_box(event["labels"], shape) if event["labels"] is not None else None  # nothing but background
        if self._node is None or self._node.GetScene() is None:
            self._node = _temporary_node()
        labels = [FoundLabel(int(value), name) for value, name in event["label_names"].items()]
        if box is None:
            self._node.GetSegmentation().RemoveAllSegments()
        else:
            show_labels(self._node, wanted.volume_node, box, labels, wanted.settings.standard_names)
        self._on_status(f"{event['seconds']:.1f} s, {len(labels)} structures")


def _temporary_node() -> slicer.vtkMRMLSegmentationNode:
    """A segmentation that is neither saved nor offered in selectors."""
    node = slicer.vtkMRMLSegmentationNode()
    node.SetName(NODE_NAME)
    node.SetSaveWithScene(False)
    node.SetHideFromEditors(True)
    node = slicer.mrmlScene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetSaveWithScene(False)
    return node
