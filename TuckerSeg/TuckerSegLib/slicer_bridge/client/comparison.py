"""Comparing strengths of a compression: runs them in the worker, tables and plots the outcome, shows any of them.

The label maps wait in a folder of their own until they are asked for, so that five of them fill no memory.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import slicer

from ...records.comparison import ComparisonRow
from ...records.protocol import FINAL_EVENTS, VolumeFile
from ...records.serialization import from_json, to_json
from ..scene.comparison_nodes import ComparisonNodes
from ..scene.segmentations import FoundLabel, LabelBox
from .segmentation_run import RunSettings
from .session import Session
from .volume_transfer import VolumeTransfer, error_event
from .worker_process import Event, Listener
from .workspace import make_workspace, remove_workspace


class Comparison:
    """The original network and some strengths of its compression on one volume.

    Events are those of a run; ``row`` events carry a ``ComparisonRow``.
    """

    def __init__(self, session: Session, volume_node: slicer.vtkMRMLScalarVolumeNode, settings: RunSettings):
        self._session, self._volume_node, self._settings = session, volume_node, settings
        self._folder = make_workspace()
        self._request: int | None = None
        self._transfer: VolumeTransfer | None = None
        self._on_event: Listener = lambda event: None
        self._nodes = ComparisonNodes(volume_node)
        self.rows: list[ComparisonRow] = []
        self.running = False

    @property
    def nodes(self) -> ComparisonNodes:
        """Table, plot and the segmentations that are shown."""
        return self._nodes

    def start(self, strengths: list[float], roi: dict[str, Any], on_event: Listener) -> None:
        """Begin; returns at once.

        Args:
            roi: ``center`` (RAS mm) and ``box_mm``; both None compare on the whole volume.

        Raises:
            ImageError: The volume cannot be segmented.
        """
        self._on_event = on_event
        self.running = True

        def begin(file: VolumeFile) -> None:
            self._request = self._session.worker.request(
                "compare",
                self._on_worker,
                on_lost=self._on_lost,
                job=to_json(self._settings.job()),
                volume=to_json(file),
                strengths=strengths,
                folder=str(self._folder),
                **roi,
            )

        worker = self._session.worker
        self._transfer = VolumeTransfer(worker.folder, begin, lambda error: self._finish(error_event(error)))
        self._transfer.start(self._volume_node)

    def cancel(self) -> None:
        """End it; rows that have come stay."""
        if self._transfer is not None:
            self._transfer.stop()
        if self._request is not None:
            self._session.worker.cancel(self._request)
        elif self.running:
            self._finish({"event": "cancelled"})

    def show(self, number: int, differences: bool) -> None:
        """Show one row's segmentation, and where it differs from the original network's."""
        row = self.rows[number]
        labels = [FoundLabel(each.value, each.name) for each in row.statistics.structures]
        title = "original" if row.strength >= 1 else f"strength {row.strength:.2f}"
        self._nodes.show_segmentation(title, _read(row.labels), labels, self._settings.standard_names)
        self._nodes.show_differences(_read(row.differences) if differences else None)

    def remove(self) -> None:
        """Take everything out of the scene and off the disk."""
        self.cancel()
        self._nodes.remove()
        remove_workspace(self._folder)

    def _on_lost(self, event: Event) -> None:
        self._request = None
        if not self._transfer.repeat():
            self._finish(event)

    def _on_worker(self, event: Event) -> None:
        if event["event"] == "row":
            row = from_json(ComparisonRow, event["row"])
            self.rows.append(row)
            self._nodes.fill(self.rows)
            event = {**event, "row": row}
        if event["event"] in FINAL_EVENTS:
            self._finish(event)
        else:
            self._on_event(event)

    def _finish(self, event: Event) -> None:
        if self.running:
            self.running = False
            self._request = None
            self._on_event(event)


def _read(box: Any) -> LabelBox | None:
    """Labels of a box in the worker's files; None where there is nothing in it."""
    if box is None or not os.path.exists(box.path):
        return None
    return LabelBox(np.load(box.path, mmap_mode="r"), tuple(box.lower))
