"""Comparing compressions: runs them in the worker, tables and plots the outcome, shows any of them.

The label maps wait in a folder of their own until they are asked for, so that five of them fill no memory.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import slicer

from ...records.comparison import ComparisonRow, Variant
from ...records.job import Job
from ...records.protocol import FINAL_EVENTS, BoxFile, VolumeFile
from ...records.serialization import from_json, to_json
from ..scene.comparison_nodes import ComparisonNodes
from ..scene.segmentations import FoundLabel, LabelBox
from ..scene.volumes import shape_of, volume_file
from .label_file import read_box
from .segmentation_run import RunSettings, in_scene
from .session import Session
from .volume_transfer import VolumeTransfer, error_event
from .worker_process import Event, Listener
from .workspace import make_workspace, remove_workspace

SOME_STRENGTH = 0.5  # so that the job names its method; the variants say how far


class Comparison:
    """The original network and some compressions of it on one volume. It may be cancelled, and go on later.

    Events are those of a run; ``row`` events carry a ``ComparisonRow``.

    Args:
        settings: Of all runs; the strength is not looked at.
        roi: ``center`` (RAS mm) and ``box_mm``; both None compare on the whole volume.
    """

    def __init__(
        self,
        session: Session,
        volume_node: slicer.vtkMRMLScalarVolumeNode,
        settings: RunSettings,
        roi: dict[str, Any],
    ):
        self._session, self._volume_node, self._settings = session, volume_node, settings
        self._job, self._roi = _job(settings), roi
        self._volume_key = _key(volume_node)
        self._shape = shape_of(volume_node)
        self._folder = make_workspace()
        self._request: int | None = None
        self._transfer: VolumeTransfer | None = None
        self._on_event: Listener = lambda event: None
        self._nodes = ComparisonNodes(volume_node)
        self.rows: list[ComparisonRow] = []
        self.running = False
        self._removed = False

    @property
    def nodes(self) -> ComparisonNodes:
        """Table, plot and the segmentations that are shown."""
        return self._nodes

    def is_about(
        self, volume_node: slicer.vtkMRMLScalarVolumeNode | None, settings: RunSettings, roi: dict[str, Any]
    ) -> bool:
        """Whether rows of such a comparison would belong to this one."""
        same = volume_node is self._volume_node and _job(settings) == self._job and roi == self._roi
        return same and in_scene(volume_node) and _key(volume_node) == self._volume_key

    def missing(self, variants: Sequence[Variant]) -> list[Variant]:
        """Those of some variants that have no row yet."""
        done = {Variant(row.strength, row.policy) for row in self.rows}
        return [variant for variant in variants if variant not in done]

    def start(self, variants: Sequence[Variant], on_event: Listener) -> None:
        """Begin, or go on: rows that are there are not computed again. Returns at once.

        Raises:
            ImageError: The volume cannot be segmented.
            OutputError: The worker's folder cannot be made.
        """
        self._on_event = on_event
        self._request = None
        variants = self.missing(variants)

        def begin(file: VolumeFile) -> None:
            self._request = self._session.worker.request(
                "compare",
                self._on_worker,
                on_lost=self._on_lost,
                job=to_json(self._job),
                volume=to_json(file),
                variants=[to_json(variant) for variant in variants],
                folder=str(self._folder),
                original=self._original(),
                **self._roi,
            )

        worker = self._session.worker
        self._transfer = VolumeTransfer(worker.folder, begin, lambda error: self._finish(error_event(error)))
        self.running = True  # first: it may end before the start returns
        try:
            self._transfer.start(self._volume_node)
        except Exception:
            self.running = False
            raise

    def _original(self) -> dict[str, Any] | None:
        """Where the worker finds the original's labels, once they have come: its row is the first."""
        return {"labels": to_json(self.rows[0])["labels"]} if self.rows else None

    def cancel(self) -> None:
        """End it; rows that have come stay."""
        if self._transfer is not None:
            self._transfer.stop()
        if self._request is not None:
            self._session.worker.cancel(self._request)
        elif self.running:
            self._finish({"event": "cancelled"})

    def show(self, number: int, differences: bool) -> None:
        """Show one row's segmentation, and where it differs from the original network's.

        Raises:
            ImageError: Its labels are of no use.
        """
        row = self.rows[number]
        labels = [FoundLabel(each.value, each.name) for each in row.statistics.structures]
        boxes = [_read(box, self._shape) for box in (row.labels, row.differences)]
        title = (
            "original" if row.strength >= 1 else " ".join(filter(None, (row.policy, f"strength {row.strength:.2f}")))
        )
        self._nodes.show_segmentation(title, boxes[0], labels, self._settings.standard_names)
        self._nodes.show_differences(boxes[1] if differences else None)

    def remove(self) -> None:
        """Take everything out of the scene and off the disk; rows that come later are not looked at."""
        self._removed = True
        self.cancel()
        self._nodes.remove()
        remove_workspace(self._folder)

    def _on_lost(self, event: Event) -> None:
        self._request = None
        if not self._transfer.repeat():
            self._finish(event)

    def _on_worker(self, event: Event) -> None:
        if event["event"] == "row":
            if self._removed:
                return
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


def _job(settings: RunSettings) -> Job:
    """What is asked of the worker: the method, and no strength of it."""
    return replace(settings, strength=SOME_STRENGTH, standard_names=True).job()


def _key(volume_node: slicer.vtkMRMLScalarVolumeNode) -> str:
    """Changes with the voxels of a volume, and with where they lie."""
    return volume_file(volume_node, Path()).key


def _read(box: BoxFile | None, shape: tuple[int, int, int]) -> LabelBox | None:
    """Labels of a box in the worker's files; None where there is nothing in it."""
    if box is None or not os.path.exists(box.path):
        return None
    return read_box(to_json(box), shape)
