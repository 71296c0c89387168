"""What a segmentation gives: labels of an image, and the statistics of the run."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from .. import hardware, image
from ..catalog import structures
from ..monitor import Monitor
from ..nnunet.plans import ModelPlans
from ..records.statistics import RunStatistics


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """Labels of an image, and the statistics of the run that gave them.

    Attributes:
        labels: (Z, Y, X) uint8 or uint16 on the input's grid, in the input's orientation.
        geometry: Of the input.
        label_names: Every label value of the model to its name, found or not.
        statistics: What the run cost, and which structures it found.
        probabilities: Where they were asked for, of every class, float32 (C, Z, Y, X) on the same grid.
        plans: Of the model that gave them; None where there are none.
    """

    labels: np.ndarray
    geometry: image.Geometry
    label_names: dict[int, str]
    statistics: RunStatistics
    probabilities: np.ndarray | None = None
    plans: ModelPlans | None = None

    def save(self, path: str) -> None:
        """Write the labels as NIfTI, NRRD, MHA, or ``.seg.nrrd`` for 3D Slicer.

        A ``.seg.nrrd`` holds the standard names, colors and codes of what was found; the model's own names stay in
        its tags.

        Raises:
            OutputError: The file cannot be written, or its ending names no format that is known.
        """
        image.write_labels(path, self.labels, self.geometry, self.segments())

    def segments(self) -> list[image.Segment]:
        """What was found, with standard names, colors and codes."""
        return [
            image.Segment(
                structure.value,
                structures.title_of(structure.name),
                structures.color_of(structure.value, structure.name),
                structures.segment_tags(structure.name),
            )
            for structure in self.statistics.structures
        ]

    def placed(self, geometry: image.Geometry, box: image.Box | None) -> SegmentationResult:
        """This result, of which a box alone was computed, on the grid of the whole image.

        Args:
            geometry: Of the whole image.
            box: Slices (Z, Y, X) of the part that was computed; None: all of it, and the result is given as it is.
        """
        if box is None:
            return self
        labels = self.labels
        if labels.shape != geometry.shape:
            labels = np.zeros(geometry.shape, dtype=self.labels.dtype)
            labels[box] = self.labels
        computed = tuple(part.stop - part.start for part in box)
        voxels = math.prod(geometry.shape)
        record = replace(self.statistics, volume_shape=geometry.shape, voxels=voxels, computed_shape=computed)
        return replace(self, labels=labels, geometry=geometry, statistics=record)

    def timed(self, monitor: Monitor) -> SegmentationResult:
        """This result with the seconds of a monitor, stages after the segmentation included, and the memory so far."""
        record = replace(self.statistics, seconds=monitor.with_total(), peak_memory_bytes=hardware.peak_memory_bytes())
        return replace(self, statistics=record)
