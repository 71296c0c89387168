"""One run: a volume node to the worker, and its answer into the scene.

The scene changes only when everything is there: a run that fails or is cancelled leaves it as it was.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import slicer

from ...errors import ImageError, TuckerSegError
from ...records.job import DEFAULT_METHOD, InferenceSpec, Job, steps_at
from ...records.protocol import FINAL_EVENTS, VolumeFile
from ...records.serialization import from_json, to_json
from ...records.statistics import RunStatistics
from ..scene.contents import contents_of, remember_contents
from ..scene.losses import is_of_another_volume
from ..scene.removal import remove_with_display
from ..scene.restoring import FormerContents
from ..scene.segmentations import FoundLabel, show_labels
from ..scene.statistics_nodes import attach_statistics, remove_tables
from ..scene.subject_hierarchy import place_beside
from ..scene.volumes import shape_of
from .label_file import read_box
from .volume_transfer import VolumeTransfer, error_event
from .worker_process import Event, Listener, WorkerProcess


@dataclass(frozen=True)
class RunSettings:
    """What is asked of a run.

    Attributes:
        model: Name in the catalog, or path.
        strength: Of the compression, in the method's own measure; 1 is the original network.
        structures: Names or groups of the structures that are wanted; None: all.
        standard_names: Titles and terminology of the structures; else the model's own names.
        calibrate: See ``Job``.
        refit: Whether a calibrated network is fitted once more to the volume; of no meaning for any other.
        crop: See ``Job``.
        method: Of the compression.
        agreement: With the original network, that the fastest network is to keep, in place of a strength; None: none.
    """

    model: str = "demo"
    strength: float = 1.0
    structures: tuple[str, ...] | None = None
    inference: InferenceSpec = InferenceSpec()
    standard_names: bool = True
    calibrate: str = "auto"
    refit: bool = False
    crop: str | None = None
    method: str = DEFAULT_METHOD
    agreement: float | None = None

    def job(self) -> Job:
        """The same for the worker."""
        return Job(
            images=(),
            model=self.model,
            inference=self.inference,
            calibrate=self.calibrate,
            refit=self.refit and self.calibrate != "none" and self.agreement is None,
            structures=self.structures,
            crop=self.crop,
            steps=steps_at(self.strength, self.method) if self.agreement is None else (),
            agreement=self.agreement,
        )


class SegmentationRun:
    """A run from :meth:`start` to its last event (``result``, ``error`` or ``cancelled``).

    What the segmentation holds is replaced. Where it was edited while the run went on, a new one is made instead.

    A ``result`` carries ``statistics`` (RunStatistics) and ``segmentation_node`` (None where nothing was found).

    Args:
        segmentation_node: Where to; None makes a new node.
    """

    def __init__(
        self,
        worker: WorkerProcess,
        volume_node: slicer.vtkMRMLScalarVolumeNode,
        segmentation_node: slicer.vtkMRMLSegmentationNode | None,
        settings: RunSettings,
        on_event: Listener,
    ):
        self._worker, self._settings, self._on_event = worker, settings, on_event
        self._volume_node, self._segmentation_node = volume_node, segmentation_node
        self._contents = contents_of(segmentation_node) if segmentation_node is not None else None
        self._request: int | None = None
        self._file: VolumeFile | None = None
        self._labels = worker.folder / f"labels-{id(self)}.npy"
        self._transfer = VolumeTransfer(worker.folder, self._on_volume, self._fail, self._on_transfer)
        self.finished = self._cancelled = False

    def start(self) -> None:
        """Begin; returns at once.

        Raises:
            ImageError: The volume cannot be segmented.
        """
        self._worker.start()
        self._on_event({"event": "stage", "stage": "hand over"})
        self._transfer.start(self._volume_node)

    def cancel(self) -> None:
        """End the run; ``cancelled`` follows within two seconds, and the scene stays as it is.

        A result that was on its way already is dropped.
        """
        self._cancelled = True
        self._transfer.stop()
        if self._request is not None:
            self._worker.cancel(self._request)
        else:
            self._finish({"event": "cancelled"})

    def _on_transfer(self, fraction: float) -> None:
        self._on_event({"event": "stage", "stage": "hand over", "fraction": fraction})

    def _on_volume(self, file: VolumeFile) -> None:
        self._file = file
        self._request = self._worker.request(
            "segment",
            self._on_worker,
            on_lost=self._on_lost,
            job=to_json(self._settings.job()),
            volume=to_json(file),
            labels=str(self._labels),
        )

    def _on_lost(self, event: Event) -> None:
        """The worker had ended before it read the request, and the volume's file may have gone with it."""
        self._request = None
        if not self._transfer.repeat():
            self._finish(event)

    def _on_worker(self, event: Event) -> None:
        if event["event"] == "result" and not self._cancelled:
            self._on_event({"event": "stage", "stage": "import"})  # whoever hears it may cancel
        if event["event"] == "result":
            try:
                event = self._import(event) if not self._cancelled else {"event": "cancelled"}
            except (TuckerSegError, OSError) as error:
                event = error_event(error)
        if event["event"] in FINAL_EVENTS:
            self._finish(event)
        else:
            self._on_event(event)

    def _import(self, event: Event) -> Event:
        statistics = from_json(RunStatistics, event["statistics"])
        if not in_scene(self._volume_node):
            raise ImageError("The volume was removed during the run, so nothing was loaded.")
        if self._volume_node.GetImageData() is None or shape_of(self._volume_node) != tuple(self._file.shape):
            raise ImageError("The volume was changed during the run, so nothing was loaded. Press Segment again.")
        if not statistics.structures:
            return {"event": "result", "statistics": statistics, "segmentation_node": None}
        box = read_box(event["labels"], self._file.shape)
        labels = [FoundLabel(each.value, each.name) for each in statistics.structures]
        former = FormerContents(self._segmentation_node) if in_scene(self._segmentation_node) else None
        node = self._target()
        try:
            show_labels(node, self._volume_node, box, labels, self._settings.standard_names)
            remember_contents(node)
            attach_statistics(node, statistics)
        except Exception:
            if node is not self._segmentation_node:
                remove_tables(node)
                remove_with_display(node)
            elif former is not None:
                former.restore()
            raise
        return {"event": "result", "statistics": statistics, "segmentation_node": node}

    def _target(self) -> slicer.vtkMRMLSegmentationNode:
        node = self._segmentation_node
        if not in_scene(node):
            return new_segmentation(self._volume_node)
        now, before = contents_of(node), self._contents
        if now is not None and not now.is_like(before):
            words = f"{node.GetName()} was edited during the run and is left as it is; the result is a new one."
            self._on_event({"event": "log", "message": words})
            return new_segmentation(self._volume_node)
        if is_of_another_volume(node, self._volume_node):  # somebody agreed; the other's name must not stay
            node.SetName(_name_for(self._volume_node))
            place_beside(node, self._volume_node)
        return node

    def _fail(self, error: TuckerSegError) -> None:
        self._finish(error_event(error))

    def _finish(self, event: Event) -> None:
        if self.finished:
            return
        self.finished = True
        with contextlib.suppress(OSError):
            self._labels.unlink(missing_ok=True)
        self._on_event(event)


def new_segmentation(volume_node: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLSegmentationNode:
    """An empty segmentation, named after a volume and beside it in the subject hierarchy."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", _name_for(volume_node))
    place_beside(node, volume_node)
    return node


def _name_for(volume_node: slicer.vtkMRMLScalarVolumeNode) -> str:
    return slicer.mrmlScene.GenerateUniqueName(f"{volume_node.GetName()} segmentation")


def in_scene(node: slicer.vtkMRMLNode | None) -> bool:
    """Whether a node is in the application's scene still."""
    return node is not None and node.GetID() is not None and slicer.mrmlScene.GetNodeByID(node.GetID()) is node
