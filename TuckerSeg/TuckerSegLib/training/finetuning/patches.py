"""Batches of patches for training and validation. Knows prepared cases, not networks.

Every batch is made from its own number: nothing of what was drawn before must be kept to make it again, here, in
another thread, or after an interruption.

Source: nnunetv2 2.x ``nnUNetDataLoader`` (where patches lie, how many are centered on foreground).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from ...preprocessing.label_resampling import OUTSIDE
from .augmentation import Augmentation
from .preparation import PreparedCase

FOREGROUND_SHARE = 0.33  # as nnU-Net's oversample_foreground_percent; of a batch of 2 it makes one patch
Batch = tuple[torch.Tensor, torch.Tensor]  # images (B, C, Z, Y, X) float32, labels (B, 1, Z, Y, X) int16


@dataclass(frozen=True, eq=False)
class PatchSampler:
    """Draws batches of patches from cases.

    Attributes:
        cases: Drawn from with replacement.
        patch_shape: (Z, Y, X) of the patches.
        batch_size: Patches per batch.
        seed: Batches differ with it.
        augmentation: None leaves the patches as they are.
    """

    cases: Sequence[PreparedCase]
    patch_shape: tuple[int, int, int]
    batch_size: int
    seed: int
    augmentation: Augmentation | None = None

    def batch(self, *number: int) -> Batch:
        """The batch with a number, or with several numbers as epoch and iteration: always the same patches."""
        sequence = np.random.SeedSequence([self.seed, *number])
        random = np.random.default_rng(sequence)
        with _global_generators(sequence):
            patches = [self._patch(random, self._is_centered(place)) for place in range(self.batch_size)]
        images, labels = zip(*patches, strict=True)
        return torch.stack(images), torch.stack(labels).clamp_(min=0)

    def _is_centered(self, place: int) -> bool:
        """Whether the patch at a place of a batch is centered on foreground, as nnU-Net decides it."""
        return place >= round(self.batch_size * (1 - FOREGROUND_SHARE))

    def _patch(self, random: np.random.Generator, centered: bool) -> Batch:
        """One patch of a random case: image (C, Z, Y, X) and labels (1, Z, Y, X)."""
        case = self.cases[random.integers(len(self.cases))]
        cut_shape = self.augmentation.cut_shape if self.augmentation else self.patch_shape
        start = self._start(case, cut_shape, _center(case, random, centered), random)
        image = torch.from_numpy(_cut(case.image, start, cut_shape, 0))
        labels = torch.from_numpy(_cut(case.labels[None], start, cut_shape, OUTSIDE))
        return self.augmentation(image, labels) if self.augmentation else (image, labels)

    def _start(self, case: PreparedCase, cut_shape: Sequence[int], center: np.ndarray | None, random) -> list[int]:
        """First voxel of the cut, which may lie before the volume: patches reach the borders, larger cuts beyond."""
        starts = []
        for axis, (size, length) in enumerate(zip(case.labels.shape, cut_shape, strict=True)):
            padding = max(length - self.patch_shape[axis], length - size)
            lowest, highest = -padding // 2, size + padding // 2 + padding % 2 - length
            if center is None:
                starts.append(int(random.integers(lowest, highest + 1)))
            else:
                starts.append(max(lowest, int(center[axis]) - length // 2))
        return starts


def batches(make: Callable[[int], Batch], count: int, ahead: bool) -> Iterator[Batch]:
    """The batches 0 to ``count - 1``, in order.

    Args:
        make: Makes a batch by its number.
        count: Number of batches.
        ahead: Make the next batch in a thread while the caller works with one: on a GPU the processor is free.
    """
    if not ahead:
        yield from map(make, range(count))
        return
    with ThreadPoolExecutor(1) as maker:
        pending = maker.submit(make, 0)
        for number in range(1, count):
            batch = pending.result()
            pending = maker.submit(make, number)
            yield batch
        yield pending.result()


def _center(case: PreparedCase, random: np.random.Generator, foreground: bool) -> np.ndarray | None:
    """A voxel (3,) to center a patch on: of a random structure, else of the annotated part; None: anywhere."""
    if foreground and case.voxels:
        places = case.voxels[list(case.voxels)[random.integers(len(case.voxels))]]
    else:
        places = case.annotated
    return None if places is None or not len(places) else places[random.integers(len(places))]


def _cut(array: np.ndarray, start: Sequence[int], shape: Sequence[int], fill: int) -> np.ndarray:
    """A copy of a box of an array (C, Z, Y, X), from a first voxel on; ``fill`` where the array ends."""
    patch = np.full((len(array), *shape), fill, dtype=array.dtype)
    inside = [
        slice(max(first, 0), min(first + length, size))
        for first, length, size in zip(start, shape, array.shape[1:], strict=True)
    ]
    target = tuple(slice(part.start - first, part.stop - first) for part, first in zip(inside, start, strict=True))
    patch[(slice(None), *target)] = array[(slice(None), *inside)]
    return patch


@contextlib.contextmanager
def _global_generators(sequence: np.random.SeedSequence) -> Iterator[None]:
    """Seed numpy's and torch's global generators, which batchgeneratorsv2 draws from; afterwards as they were."""
    numpy_state, torch_state = np.random.get_state(), torch.get_rng_state()
    numpy_seed, torch_seed = (int(word) for word in sequence.generate_state(2))
    try:
        np.random.seed(numpy_seed)
        torch.default_generator.manual_seed(torch_seed)  # not torch.manual_seed, which seeds the GPU's too
        yield
    finally:
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
