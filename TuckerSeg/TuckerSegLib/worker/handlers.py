"""What each request of the protocol means: its fields to images and jobs, results to files and fields."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any

import numpy as np

from .. import hardware, image
from ..cache import Cache
from ..errors import ImageError
from ..files.atomic_writes import written_whole
from ..jobs.comparison import StrengthResult
from ..jobs.warm_runs import Runs
from ..model_zoo.importing import import_model
from ..models.modality import modalities_of
from ..models.resolved_job import ResolvedJob, resolve
from ..monitor import Monitor
from ..records.comparison import ComparisonRow
from ..records.protocol import BoxFile, VolumeFile
from ..records.serialization import from_json, to_json
from .description import describe, described_policies
from .requests import file_job_of, job_of, variants_of

Request = dict[str, Any]
Fields = dict[str, Any]


class Handlers:
    """One method per kind of request; returns the fields of its ``result``.

    Args:
        cache: None takes the user's.
    """

    def __init__(self, cache: Cache | None = None):
        self._runs = Runs(cache)
        self._volume: tuple[tuple[str, str], image.Image] | None = None

    def describe_model(self, request: Request, monitor: Monitor) -> Fields:
        """Facts of the model that ``job`` names, for a panel; see ``description.describe``."""
        return describe(_resolved(request), self._runs.described)

    def devices(self, request: Request, monitor: Monitor) -> Fields:
        """Every device, usable or not, and which one ``auto`` takes."""
        devices = hardware.devices()
        chosen, reason = hardware.choose("auto", devices)
        precision, _ = hardware.choose_precision("auto", chosen)
        return {
            "devices": [to_json(device) for device in devices],
            "automatic": {"id": chosen.id, "reason": reason, "precision": precision},
        }

    def estimate(self, request: Request, monitor: Monitor) -> Fields:
        """What the run of ``job`` on a volume of ``shape`` (Z, Y, X) and ``affine`` would cost: ``estimate``.

        With ``measure``, one patch is run where this computer's speed is not known. Of each of ``agreements``,
        ``agreement_seconds`` has what the fastest network that keeps it takes, where an earlier run tells; else null.
        """
        geometry, measure = image.Geometry(tuple(request["shape"]), request["affine"]), bool(request.get("measure"))
        resolved = _resolved(request)
        estimate = self._runs.estimate(resolved, geometry, measure, monitor)
        agreements = request.get("agreements") or ()
        seconds = [self._runs.seconds_at_agreement(resolved, each, geometry) for each in agreements]
        return {"estimate": to_json(estimate), "agreement_seconds": seconds}

    def segment(self, request: Request, monitor: Monitor) -> Fields:
        """Do ``job`` on ``volume``: ``statistics``, and the box of labels that was written to the file ``labels``."""
        resolved = _resolved(request)
        result = self._runs.segment(resolved, self._read(request, resolved), monitor)
        return {
            "statistics": to_json(result.statistics),
            "labels": _plain(write_box(result.labels, Path(request["labels"]))),
            "label_names": result.label_names,
        }

    def policies(self, request: Request, monitor: Monitor) -> Fields:
        """The named ``policies`` that a comparison may compare: name and explanation."""
        return {"policies": described_policies()}

    def list_images(self, request: Request, monitor: Monitor) -> Fields:
        """The ``images`` in ``folder``: path, and a name that a result may have."""
        return {"images": image.listed_images(request["folder"])}

    def segment_file(self, request: Request, monitor: Monitor) -> Fields:
        """Do ``job`` on the file or folder ``image``, as the command line does it: ``statistics``, and ``output``."""
        self._volume = None  # two large volumes at once may be too much
        result = self._runs.segment_file(resolve(file_job_of(request)), monitor)
        return {"statistics": to_json(result.statistics)}

    def preview(self, request: Request, monitor: Monitor) -> Fields:
        """Do ``job`` on the one patch of ``volume`` around ``point`` (RAS mm); its labels go to the file ``labels``."""
        started = time.perf_counter()
        resolved = _resolved(request)
        volume = self._read(request, resolved)
        result, box = self._runs.preview(resolved, volume, request["point"], monitor)
        names_in_patch = {structure.value: structure.name for structure in result.statistics.structures}
        return {
            "labels": _plain(write_box(result.labels, Path(request["labels"]), _lower(box))),
            "label_names": names_in_patch,
            "seconds": time.perf_counter() - started,
        }

    def compare(self, request: Request, monitor: Monitor) -> Fields:
        """The original and the ``variants`` of ``job`` on ``volume``, or on ``box_mm`` around ``center`` (RAS mm).

        Each comes as an event ``row``; its label maps go to ``folder``. With ``original``, the ``labels`` of its row in
        a comparison that was broken off, the original does not run again.
        """
        resolved, lower = _resolved(request), (0, 0, 0)
        volume = self._read(request, resolved)
        if request.get("box_mm"):
            box = image.box_around(volume.geometry, request["center"], (request["box_mm"],) * 3)
            if any(part.stop <= part.start for part in box):
                raise ImageError("The center of the comparison lies outside the volume; move the crosshair into it.")
            volume, lower = image.cropped(volume, box), _lower(box)
        remember = not request.get("box_mm")
        original = request.get("original")
        if original is not None:
            original = read_box(original.get("labels"), volume.geometry.shape, lower)
        for row in self._runs.compare(resolved, volume, variants_of(request), monitor, remember, original):
            record = _write_row(row, Path(request["folder"]), secrets.token_hex(6), lower)
            monitor.tell("row", row=to_json(record))
        return {}

    def import_model(self, request: Request, monitor: Monitor) -> Fields:
        """Copy the model at ``path`` to where models lie, and call it ``name``."""
        with monitor.warnings_noted():
            model = import_model(request["path"], request["name"], monitor)
        return {"name": model.name, "title": model.title, "path": str(model.path)}

    def forget(self, request: Request, monitor: Monitor) -> Fields:
        """Let go of the volume that stays in memory, and so of its file."""
        self._volume = None
        return {}

    def close(self) -> None:
        """Give all devices' memory back."""
        self._runs.close()

    def _read(self, request: Request, resolved: ResolvedJob) -> image.Image:
        """The request's volume; the last one stays in memory."""
        file, modality = from_json(VolumeFile, request["volume"]), modalities_of(resolved)[0]
        key = (file.key, modality)
        if self._volume is None or self._volume[0] != key:
            self._volume = None  # two large volumes at once may be too much
            array, affine = _voxels(file), np.asarray(file.affine)
            self._volume = (key, image.image_from_array(array, affine=affine, source=file.name, modality=modality))
        return self._volume[1]


def write_box(labels: np.ndarray, path: Path, lower: tuple[int, int, int] = (0, 0, 0)) -> BoxFile | None:
    """Write the part of a label map that is not background.

    Args:
        labels: (Z, Y, X).
        lower: Where the label map's first voxel lies in the volume.

    Returns:
        None where there is nothing.

    Raises:
        OutputError: It cannot be written.
    """
    box = image.filled_box(labels)
    if box is None:
        return None
    with written_whole(path, labels[box].nbytes) as beside:
        np.save(beside, labels[box])
    first = tuple(part.start + start for part, start in zip(box, lower))
    last = tuple(part.stop + start for part, start in zip(box, lower))
    return BoxFile(str(path), first, last)


def read_box(
    document: Fields | None, shape: tuple[int, int, int], lower: tuple[int, int, int] = (0, 0, 0)
) -> np.ndarray:
    """The label map (Z, Y, X) of which :func:`write_box` wrote a part.

    Args:
        document: JSON of the ``BoxFile``; None is a label map of background alone.
        shape: Of the label map.
        lower: Where its first voxel lies in the volume.

    Raises:
        ImageError: The file is not there, or holds another box.
    """
    labels = np.zeros(shape, np.uint16)
    if document is None:
        return labels
    box = from_json(BoxFile, document)
    part = tuple(slice(first - start, last - start) for first, last, start in zip(box.lower, box.upper, lower))
    try:
        stored = np.load(box.path, mmap_mode="r")
        if min(side.start for side in part) < 0 or labels[part].shape != stored.shape:
            raise ValueError(f"{stored.shape} voxels do not fit into {shape}")
        labels[part] = stored
    except Exception as error:  # numpy reads the header as Python's text, and raises whatever that does
        raise ImageError(f"Labels of the original cannot be read again ({error}). Compare anew.") from error
    return labels


def _voxels(file: VolumeFile) -> np.ndarray:
    """What the application wrote, without reading it all."""
    try:
        array = np.load(file.path, mmap_mode="r")
    except Exception as error:  # numpy reads the header as Python's text, and raises whatever that does
        raise ImageError(f"{file.name}: its voxels should be in {file.path} as .npy ({error}).") from error
    if not isinstance(array, np.ndarray) or array.shape != file.shape or [len(row) for row in file.affine] != [4] * 4:
        shape = getattr(array, "shape", "several arrays")
        raise ImageError(
            f"{file.name}: expected {file.shape} voxels (Z Y X) and an affine of 4x4; {file.path} has {shape}."
        )
    return array


def _write_row(row: StrengthResult, folder: Path, number: str, lower: tuple[int, int, int]) -> ComparisonRow:
    """A row as the application gets it; its label maps go to files."""
    labels = write_box(row.result.labels, folder / f"labels-{number}.npy", lower)
    differences = write_box(row.differs.astype(np.uint8), folder / f"differences-{number}.npy", lower)
    return row.to_record(labels, differences)


def _lower(box: image.Box) -> tuple[int, int, int]:
    return tuple(part.start for part in box)


def _plain(box: BoxFile | None) -> Fields | None:
    return to_json(box) if box else None


def _resolved(request: Request) -> ResolvedJob:
    return resolve(job_of(request))
