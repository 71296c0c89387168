"""What a module or a script works with: one warm worker, and at most one run at a time.

No dialogs, no widgets: everything is told through events or raised.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

from ...errors import Cancelled, TuckerSegError
from ...records.chosen_servers import ChosenServer
from ...records.protocol import FINAL_EVENTS
from ...records.statistics import RunStatistics
from ..scene.losses import check_same_volume, loss
from ..scene.volumes import check_volume
from .file_run import FileRun
from .segmentation_run import RunSettings, SegmentationRun
from .worker_process import Event, Listener, WorkerProcess


class Session:
    """A worker and what it does for one user.

    Args:
        python: Python that runs the worker; None takes Slicer's own.
        on_log: Receives lines for a log.
    """

    def __init__(self, python: str | None = None, on_log: Callable[[str], None] = lambda line: None):
        self._python, self._on_log = python, on_log
        self._server: ChosenServer | None = None
        self._worker: WorkerProcess | None = None
        self.active: SegmentationRun | FileRun | None = None

    @property
    def worker(self) -> WorkerProcess:
        """The worker, made on first use; its process starts with its first request."""
        if self._worker is None:
            self._worker = WorkerProcess(self._python, self._on_log, self._server)
        return self._worker

    @property
    def warm(self) -> bool:
        """Whether the worker's process runs."""
        return self._worker is not None and self._worker.running

    def use_python(self, python: str | None) -> None:
        """Run later requests with another Python; None is Slicer's own. What runs now is ended."""
        if python != self._python:
            self.close()
            self._python = python

    def use_server(self, server: ChosenServer | None) -> None:
        """Let a server do later requests; None: this computer. What runs now is ended."""
        if server != self._server:
            self.close()
            self._server = server

    def start(
        self,
        volume_node: slicer.vtkMRMLScalarVolumeNode,
        segmentation_node: slicer.vtkMRMLSegmentationNode | None,
        settings: RunSettings,
        on_event: Listener,
        may_replace: bool = False,
    ) -> SegmentationRun:
        """Begin a run and return at once; ``on_event`` receives its events.

        Args:
            segmentation_node: Where to; None makes a new node.
            may_replace: Whether the user agrees that all goes that the segmentation holds. Where nobody was asked,
                one that was edited since the last run is left as it is, and a new one is made.

        Raises:
            ImageError: The volume cannot be segmented.
            OutputError: The segmentation is of another volume, and nobody agreed to replace it.
            TuckerSegError: A run is going on.
        """
        self._check_idle()
        check_volume(volume_node)
        if not may_replace:
            check_same_volume(segmentation_node, volume_node)
            kept = loss(segmentation_node, volume_node)
            if kept is not None:
                on_event({"event": "log", "message": f"{kept} It is left as it is; the result is a new segmentation."})
                segmentation_node = None
        run = SegmentationRun(self.worker, volume_node, segmentation_node, settings, self._until_end(on_event))
        self._begin(run)
        return run

    def start_file(self, image: str, output: str, settings: RunSettings, on_event: Listener) -> None:
        """Begin a run from file to file, which changes no scene, and return at once; see :class:`FileRun`.

        Raises:
            TuckerSegError: A run is going on.
        """
        self._check_idle()
        self._begin(FileRun(self.worker, image, output, settings, self._until_end(on_event)))

    def _check_idle(self) -> None:
        if self.active is not None:
            raise TuckerSegError("A run is going on; cancel it or wait for its end.")

    def _until_end(self, on_event: Listener) -> Listener:
        """A listener that knows when the run that goes on has ended, and passes everything on."""

        def forward(event: Event) -> None:
            if event["event"] in FINAL_EVENTS:
                self.active = None
            on_event(event)

        return forward

    def _begin(self, run: SegmentationRun | FileRun) -> None:
        self.active = run
        try:
            run.start()
        except Exception:
            self.active = None
            raise

    def cancel(self) -> None:
        """End the run that goes on, if any."""
        if self.active is not None:
            self.active.cancel()

    def segment(
        self,
        volume_node: slicer.vtkMRMLScalarVolumeNode,
        segmentation_node: slicer.vtkMRMLSegmentationNode | None,
        settings: RunSettings,
        on_event: Listener = lambda event: None,
        may_replace: bool = False,
    ) -> tuple[RunStatistics, slicer.vtkMRMLSegmentationNode | None]:
        """Run and wait, the application's events going on. Arguments as in :meth:`start`.

        Returns:
            Statistics, and the segmentation node (None where nothing was found).

        Raises:
            TuckerSegError: With a message and what to do.
            Cancelled: Somebody cancelled it.
        """
        last: list[Event] = []

        def listen(event: Event) -> None:
            if event["event"] in FINAL_EVENTS:
                last.append(event)
            on_event(event)

        self.start(volume_node, segmentation_node, settings, listen, may_replace)
        while not last:
            self.worker.wait()
        return _outcome(last[0])

    def ask(self, kind: str, **fields: Any) -> Event:
        """Send a request that changes no scene, wait, and return its result.

        Raises:
            TuckerSegError: With a message and what to do.
        """
        last: list[Event] = []

        def listen(event: Event) -> None:
            if event["event"] in FINAL_EVENTS:
                last.append(event)

        self.worker.request(kind, listen, **fields)
        while not last:
            self.worker.wait()
        if last[0]["event"] != "result":
            raise error_of(last[0])
        return last[0]

    def close(self) -> None:
        """End whatever runs; nothing of it stays behind."""
        self.cancel()
        if self._worker is not None:
            self._worker.stop()
            self._worker = None


def error_of(event: Event) -> TuckerSegError | Cancelled:
    """The exception for an event that ends a request without a result."""
    if event["event"] == "error":
        return TuckerSegError(" ".join(filter(None, (event["message"], event.get("advice", "")))))
    return Cancelled("The run was cancelled.")


def _outcome(event: Event) -> tuple[RunStatistics, slicer.vtkMRMLSegmentationNode | None]:
    if event["event"] != "result":
        raise error_of(event)
    return event["statistics"], event["segmentation_node"]
