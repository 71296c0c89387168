"""Probabilities of all classes on the output grid, averaged over networks; labels are made of the mean.

As nnunetv2 2.x does it for ``--save_probabilities`` and ``nnUNetv2_ensemble``: logits are resampled, made
probabilities, and averaged there. This needs a float per class and voxel; where labels alone are wanted of one network,
``label_volume`` does with less.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import OutOfMemoryError
from ..resampling import ResamplingSpec
from ..system_memory import system_memory_bytes
from .decision import Decision
from .label_volume import ALL, fill_outside, first_place, planes_of, taps_of

if TYPE_CHECKING:
    from ..linear_head import Head
    from ..sliding_window import Kept, Slab


class ProbabilityMean:
    """The mean of the probabilities that several networks, or one, give to the voxels of an image.

    Args:
        decision: How probabilities become labels; the same for all networks.
        shape: (Z, Y, X) of the image.

    Attributes:
        volume: Sum, after :meth:`finish` mean, of the probabilities, float32 (C, Z, Y, X).
        regions: Whether classes overlap: probabilities are then each channel's own, and else add up to one.

    Raises:
        OutOfMemoryError: This computer has less memory than it takes.
    """

    def __init__(self, decision: Decision, shape: Sequence[int]):
        channels = len(decision.values) - decision.regions
        needed, (present, _) = 4 * channels * math.prod(shape), system_memory_bytes()
        if present is not None and needed > present:
            raise OutOfMemoryError(
                f"The probabilities of {channels} classes on {tuple(shape)} voxels (Z Y X) take {needed / 1e9:.1f} GB; "
                f"this computer has {present / 1e9:.1f} GB. Cut out a part of the image, or ask for labels alone."
            )
        self._decision, self._count = decision, 0
        self.regions = decision.regions
        self.volume = np.zeros((channels, *shape), np.float32)

    def begin_network(self) -> NetworkProbabilities:
        """What adds the probabilities of one more network."""
        self._count += 1
        return NetworkProbabilities(self.volume, self.regions)

    def finish(self, box: Sequence[slice] | None = None) -> np.ndarray:
        """Divide by the number of networks, and make labels.

        Args:
            box: Of (Z, Y, X); all voxels outside it are background. None: none is for that.

        Returns:
            (Z, Y, X), of the smallest type that holds all label values.
        """
        if self._count > 1:
            self.volume /= self._count
        if box is not None:
            for number, channel in enumerate(self.volume):
                fill_outside(channel, box, 0 if number or self.regions else 1)
        values = np.asarray(self._decision.values, dtype=self._decision.dtype)
        labels = np.empty(self.volume.shape[1:], values.dtype)
        for index, plane in enumerate(labels):
            plane[...] = values[_classes(self.volume[:, index], self.regions)]
        return labels


class NetworkProbabilities:
    """Adds what one network gives to a sum of probabilities.

    Planes that were added are not added once more: a network that ran out of memory begins again.
    """

    def __init__(self, total: np.ndarray, regions: bool):
        self._total, self._regions, self._done = total, regions, 0
        self._certain = None if regions else np.ones(total.shape[1:], bool)

    def add(
        self,
        slabs: Iterable[Slab],
        head: Head | None,
        decision: Decision,
        low_shape: Sequence[int],
        views: Sequence[np.ndarray],
        upsampling: ResamplingSpec,
        nearest: bool = False,
        box: Sequence[slice] | None = None,
        kept: Kept = ALL,
    ) -> None:
        """Add the probabilities of all slabs, and write the network's own labels.

        Args:
            slabs, head, decision, low_shape, upsampling, nearest, box, kept: As for ``label_volume``.
            views: The network's part, on its own axes, of labels, which must be zeros, and of all in :attr:`written`.
        """
        labels, *sums = views
        certain = None if self._regions else sums.pop(0)
        parts, taps = taps_of(low_shape, labels.shape, upsampling, nearest, box, kept)
        values = np.asarray(decision.values, dtype=labels.dtype)
        inside, sums = labels[parts], [channel[parts] for channel in sums]
        outer, first = [axis.tolist() for axis in taps[0]], first_place(box, kept)
        done, planes, logits_of = 0, {}, None
        for index, plane, bare in planes_of(slabs, first):
            logits_of = logits_of or _Interpolation(head, taps[1], taps[2], plane.device)
            planes = {index - 1: planes.get(index - 1), index: (logits_of.logits(plane), bare)}
            while done < len(inside) and outer[1][done] <= index:
                below, above, fraction = (axis[done] for axis in outer)
                logits, unknown = logits_of.between(planes[below], planes[above], fraction)
                probabilities = (logits.sigmoid() if self._regions else logits.softmax(dim=0)).cpu().numpy()
                if unknown is not None:
                    probabilities[:, unknown] = 0
                    probabilities[: 0 if self._regions else 1, unknown] = 1
                np.take(values, _classes(probabilities, self._regions), out=inside[done], mode="clip")
                if done >= self._done:
                    for channel, added in zip(sums, probabilities, strict=True):
                        channel[done] += added
                    if certain is not None:
                        certain[parts][done] = False
                    self._done = done + 1
                done += 1

    @property
    def written(self) -> list[np.ndarray]:
        """Arrays (Z, Y, X) on the image's grid that :meth:`add` writes beside labels, in its order."""
        return [*([] if self._certain is None else [self._certain]), *self._total]

    def end(self) -> None:
        """Make background of all that the network has said nothing of."""
        if self._certain is not None:
            self._total[0] += self._certain


class _Interpolation:
    """Logits between the voxels of planes of features, along Z, Y and X."""

    def __init__(self, head: Head | None, rows: tuple, columns: tuple, device: torch.device):
        self._weight = self._bias = None
        if head is not None:
            self._weight = head.weight.detach().to(device, torch.float32)
            self._bias = None if head.bias is None else head.bias.detach().to(self._weight)[:, None]
        self._axes = [tuple(each.to(device) for each in axis) for axis in (rows, columns)]

    def logits(self, plane: torch.Tensor) -> torch.Tensor:
        """Features (F, Y, X) to logits (C, Y, X)."""
        if self._weight is None:
            return plane
        logits = self._weight @ plane.flatten(1)
        return (logits if self._bias is None else logits + self._bias).view(-1, *plane.shape[1:])

    def between(self, below: tuple, above: tuple, fraction: float) -> tuple[torch.Tensor, np.ndarray | None]:
        """Logits (C, Y', X') of an output slice, and where a voxel that no patch covers contributes to them."""
        chosen = (below, above) if fraction else (below,)
        logits = below[0] if not fraction else torch.lerp(below[0], above[0], fraction)
        bare = [each for _, each in chosen if each is not None]
        if not bare:
            return self._in_plane(logits), None
        unknown = self._in_plane(torch.stack(bare).any(dim=0)[None].float())[0] > 0
        return self._in_plane(logits), unknown.cpu().numpy()

    def _in_plane(self, values: torch.Tensor) -> torch.Tensor:
        for axis, (first, second, fraction) in zip((1, 2), self._axes, strict=True):
            share = fraction[:, None] if axis == 1 else fraction
            values = torch.lerp(values.index_select(axis, first), values.index_select(axis, second), share)
        return values


def _classes(probabilities: np.ndarray, regions: bool) -> np.ndarray:
    """Class of each voxel of a plane, (Y, X), of its probabilities (C, Y, X); of regions 0 is none of them."""
    if not regions:
        return probabilities.argmax(axis=0)
    ranks = np.arange(1, len(probabilities) + 1)[:, None, None]
    return ((probabilities > 0.5) * ranks).max(axis=0)
