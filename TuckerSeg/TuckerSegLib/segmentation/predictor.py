"""A prepared volume through a network to labels on the input's grid, streamed slab by slab.

Where there are more logit channels than features, the features are accumulated and the head, which is linear and
the same for every patch, is applied once per output voxel (ARCHITECTURE.md, idea 1). Several folds become one
network whose features stand side by side.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import OutOfMemoryError
from ..linear_head import Head
from ..models.model import SegmentationModel, uses_features
from ..monitor import Monitor
from ..nnunet.plans import ModelPlans
from ..postprocessing.decision import Decision
from ..postprocessing.label_volume import fill_outside, label_volume
from ..postprocessing.probabilities import NetworkProbabilities
from ..preprocessing.preprocess import PreparedVolume
from ..records.job import InferenceSpec
from ..sliding_window import Slab, StreamSpec, select_patches, stream
from .kept_voxels import KeptVoxels

if TYPE_CHECKING:
    import torch

PatchFunction = Callable[["torch.Tensor"], "torch.Tensor"]


@dataclass(frozen=True)
class Network:
    """All folds of a model, ready to run.

    Attributes:
        run: (B, C, Z, Y, X) to features or logits of all folds.
        head: Makes logits of the features; None where ``run`` gives logits.
        is_out_of_memory: Tells whether an error of ``run`` means too little memory.
        output_device: Where ``run`` leaves its results, in torch's words.
    """

    run: PatchFunction
    head: Head | None
    is_out_of_memory: Callable[[BaseException], bool]
    output_device: str = "cpu"


@dataclass(frozen=True)
class Prediction:
    """The labels that a model gives to a volume, and what they took.

    Attributes:
        labels: (Z, Y, X) uint8 or uint16, on the input's grid.
        network_s: Seconds in the network.
        finish_s: Seconds of making labels of its outputs.
        patches: Patches that were run.
        notes: What the user should know, as that memory ran out and smaller steps were taken.
        patches_skipped: Patches of the grid that were not run.
    """

    labels: np.ndarray
    network_s: float
    finish_s: float
    patches: int
    notes: tuple[str, ...]
    patches_skipped: int = 0


def combine(
    model: SegmentationModel,
    predictors: dict[str, PatchFunction],
    is_out_of_memory: Any,
    heads: Mapping[str, Head] | None = None,
) -> Network:
    """Make one network of all folds of a model: the mean of their logits, or of their features where these are fewer.

    Args:
        model: With its weights or without.
        predictors: Per fold, what ``hardware.prepare`` gave for ``model.network(fold, features=uses_features(model))``.
        is_out_of_memory: The backend's test of an error.
        heads: Of each fold; None takes those of the model, which then has its weights. Not looked at for logits.
    """
    import torch

    runs = [predictors[fold] for fold in model.folds]
    output_device = str(runs[0].output_device)
    if uses_features(model):
        heads = [heads[fold] if heads else model.head(fold) for fold in model.folds]
        weight = torch.cat([weight for weight, _ in heads], dim=1) / len(heads)
        biases = [bias for _, bias in heads if bias is not None]
        bias = torch.stack(biases).sum(dim=0) / len(heads) if biases else None
        run = runs[0] if len(runs) == 1 else lambda patch: torch.cat([run(patch) for run in runs], dim=1)
        return Network(run, Head(weight, bias), is_out_of_memory, output_device)
    run = runs[0] if len(runs) == 1 else lambda patch: torch.stack([run(patch).float() for run in runs]).mean(dim=0)
    return Network(run, None, is_out_of_memory, output_device)


def predict(
    volume: PreparedVolume,
    model: SegmentationModel,
    network: Network,
    spec: InferenceSpec,
    monitor: Monitor | None = None,
    probabilities: NetworkProbabilities | None = None,
) -> Prediction:
    """Run a network over the patches of a prepared volume, and make labels on the input's grid.

    Where memory runs out, it begins again: first with one patch at a time, then with the accumulator in main memory.

    Args:
        volume: From ``preprocess``, with the region to compute.
        model: Whose network it is; its plans and labels count.
        network: From :func:`combine`.
        spec: Step fraction, weights of patches, mirroring, batch size and output grid count.
        monitor: Hears of the progress of ``network``, in patches, and of ``finish``, in planes of the model's grid
            that are labeled; the two take turns, and what is skipped does not count. Asked before every patch and
            every plane whether to stop.
        probabilities: Takes the probabilities of all classes, too; None: they are not made.

    Raises:
        OutOfMemoryError: Even the smallest step needs more memory than there is.
        Cancelled: The monitor said so.
    """
    plans, spec, monitor = model.plans, spec.with_step(), monitor or Monitor()
    notes: list[str] = []
    mask = volume.roi.mask_within(*volume.grid)
    selection = select_patches(volume.data.shape[1:], plans.patch_shape, spec.step_fraction, mask)
    nearest = spec.output_grid == "nearest"
    kept = KeptVoxels.of(volume, selection.box, nearest, network.head is not None)
    for batch_size, accumulator, words in _steps_down(spec.batch_size, network.output_device):
        if words:
            notes.append(f"The device ran out of memory; went on with {words}.")
        settings = StreamSpec(
            patch_shape=plans.patch_shape,
            step_fraction=spec.step_fraction,
            mirror_axes=plans.mirror_axes if spec.mirroring else (),
            batch_size=batch_size,
            accumulator_device=accumulator,
            weights=spec.patch_weights,
        )
        slabs = _Timer(stream(volume.data, network.run, settings, monitor.within("network"), selection, kept.of_data))
        planes = _planes(slabs, kept.planes, monitor.within("finish"))
        started = time.perf_counter()
        try:
            labels = _label(planes, volume, model, network, kept, nearest, probabilities)
        except Exception as error:
            if not network.is_out_of_memory(error):
                raise
            failure = error.with_traceback(None)  # its frames hold the tensors that filled the memory
            continue
        finish_s = time.perf_counter() - started - slabs.seconds
        run, skipped = len(selection.origins), selection.skipped
        return Prediction(labels, slabs.seconds, finish_s, run, tuple(notes), skipped)
    raise OutOfMemoryError(
        f"Out of memory with one patch of {plans.patch_shape} at a time ({failure}). "
        "Close other programs, choose another device, or compress more."
    ) from failure


def _planes(slabs: Iterable[Slab], count: int, monitor: Monitor) -> Iterator[Slab]:
    """Slabs of one plane each: labeling a large one takes long enough to be followed and cancelled.

    Planes are copies, so that a slab's memory is free for the next patches whatever becomes of its last plane.
    """
    done = 0
    for slab in slabs:
        for index in range(slab.start, slab.stop):
            monitor.check()
            inside = slice(index - slab.start, index - slab.start + 1)
            covered = None if slab.covered is None else slab.covered[inside]
            yield Slab(index, index + 1, slab.features[:, inside].clone(), covered)
            done += 1
            monitor.progress(done, count)
        del slab


def _label(
    slabs: Iterable[Slab],
    volume: PreparedVolume,
    model: SegmentationModel,
    network: Network,
    kept: KeptVoxels,
    nearest: bool,
    probabilities: NetworkProbabilities | None,
) -> np.ndarray:
    """Slabs of features or logits to labels on the input's grid."""
    decision = decision_of(model.plans)
    labels = np.zeros(volume.geometry.shape, dtype=decision.dtype)
    moved = (replace(slab, start=slab.start + kept.before, stop=slab.stop + kept.before) for slab in slabs)
    how = (network.head, decision, volume.grid[0])
    where = (volume.upsampling, nearest, kept.box, kept.of_grid)
    if probabilities is None:
        label_volume(moved, *how, volume.label_view(labels), *where)
    else:
        views = [volume.label_view(each) for each in (labels, *probabilities.written)]
        probabilities.add(moved, *how, views, *where)
    if volume.roi.box is not None:
        fill_outside(labels, volume.roi.box, 0)
    return labels


def decision_of(plans: ModelPlans) -> Decision:
    """How the logits of a model become labels."""
    regions = plans.region_values
    return Decision.for_regions(regions) if regions else Decision.for_labels(plans.logit_channels)


def _steps_down(batch_size: int, output_device: str) -> list[tuple[int, str | None, str]]:
    """Settings to try one after the other: batch size, accumulator's device (None: the network's), words for a note."""
    steps: list[tuple[int, str | None, str]] = [(batch_size, None, "")]
    if batch_size > 1:
        steps.append((1, None, "one patch at a time"))
    if output_device != "cpu":
        steps.append((1, "cpu", "the accumulator in main memory"))
    return steps


class _Timer:
    """Passes the items of an iterable on, and adds up the seconds that computing them took."""

    def __init__(self, items: Iterable[Any]):
        self._items = iter(items)
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        started = time.perf_counter()
        try:
            return next(self._items)
        finally:
            self.seconds += time.perf_counter() - started
