"""One run from a file to a file, as the command line does it; the worker reads and writes, and no scene changes."""

from __future__ import annotations

from ...records.serialization import from_json, to_json
from ...records.statistics import RunStatistics
from .segmentation_run import RunSettings
from .worker_process import Event, Listener, WorkerProcess


class FileRun:
    """A run from :meth:`start` to its last event (``result``, ``error`` or ``cancelled``).

    A ``result`` carries ``statistics`` (RunStatistics). The output is there whole, or not at all.

    Args:
        image: Whole path of a file or of a folder of DICOM slices.
        output: Whole path of the file of labels; an older one is replaced.
    """

    def __init__(self, worker: WorkerProcess, image: str, output: str, settings: RunSettings, on_event: Listener):
        self._worker, self._settings, self._on_event = worker, settings, on_event
        self._image, self._output = image, output
        self._request: int | None = None

    def start(self) -> None:
        """Begin; returns at once."""
        job = to_json(self._settings.job())
        self._request = self._worker.request(
            "segment_file", self._on_worker, job=job, image=self._image, output=self._output
        )

    def cancel(self) -> None:
        """End the run; ``cancelled`` follows within two seconds, and no file is left behind."""
        if self._request is not None:
            self._worker.cancel(self._request)

    def _on_worker(self, event: Event) -> None:
        if event["event"] == "result":
            event = {**event, "statistics": from_json(RunStatistics, event["statistics"])}
        self._on_event(event)
