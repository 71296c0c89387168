"""Labels where features are there for a part of the model's grid only."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from TuckerSegLib.linear_head import Head
from TuckerSegLib.postprocessing.decision import Decision
from TuckerSegLib.postprocessing.label_volume import label_volume
from TuckerSegLib.resampling import ResamplingSpec, linear_taps
from TuckerSegLib.sliding_window import Slab

LOW = (12, 14, 11)
DECISION = Decision((0, 7, 3, 200, 9))
BOX = (slice(2, 9), slice(0, 10), slice(4, 11))


def head_and_features() -> tuple[Head, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    head = Head(torch.randn(5, 6, generator=generator), torch.randn(5, generator=generator))
    return head, torch.randn((6, *LOW), generator=generator)


def slabs_of(features: torch.Tensor, box, covered: torch.Tensor | None = None) -> list[Slab]:
    starts = range(box[0].start, box[0].stop, 3)
    parts = [(start, min(start + 3, box[0].stop)) for start in starts]
    return [
        Slab(
            start,
            stop,
            features[:, start:stop, box[1], box[2]],
            None if covered is None else covered[start:stop, box[1], box[2]],
        )
        for start, stop in parts
    ]


def labels(slabs, shape, spec, nearest=False, box=None) -> np.ndarray:
    output = np.full(shape, 255, dtype=np.uint8)
    label_volume(slabs, head_and_features()[0], DECISION, LOW, output, spec, nearest, box)
    return output


def touched(mask: np.ndarray, shape, spec, nearest) -> np.ndarray:
    """Where on the output grid a low-resolution voxel of the mask has a say, one axis after the other."""
    for axis, size in enumerate(shape):
        index0, index1, fraction = (
            taps.numpy() for taps in linear_taps(mask.shape[axis], size, 0 if nearest else 1, spec.convention)
        )
        beside = np.moveaxis(mask.take(index1, axis), axis, -1) & (fraction > 0)
        mask = mask.take(index0, axis) | np.moveaxis(beside, -1, axis)
    return mask


WHOLE = tuple(slice(0, size) for size in LOW)
SHAPES = [(31, 29, 40), (12, 14, 11), (7, 30, 5)]


@pytest.mark.parametrize("nearest", [False, True])
@pytest.mark.parametrize("convention", ["nnunet", "aligned"])
@pytest.mark.parametrize("shape", SHAPES)
def test_beyond_the_box_all_is_background_and_within_it_nothing_changes(shape, convention, nearest):
    spec, (_, features) = ResamplingSpec(1, convention), head_and_features()
    whole = labels(slabs_of(features, WHOLE), shape, spec, nearest)
    outside = np.ones(LOW, dtype=bool)
    outside[BOX] = False
    background = touched(outside, shape, spec, nearest)
    part = labels(slabs_of(features, BOX), shape, spec, nearest, BOX)
    assert background.any() and not background.all()
    assert np.array_equal(part, np.where(background, 0, whole))


@pytest.mark.parametrize("nearest", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_a_bare_voxel_has_a_say_in_is_background(shape, nearest):
    spec, (_, features) = ResamplingSpec(1), head_and_features()
    whole = labels(slabs_of(features, WHOLE), shape, spec, nearest)
    covered = torch.ones(LOW, dtype=torch.bool)
    covered[4:6] = False
    covered[:7, 5, 3:6] = False
    background = touched(~covered.numpy(), shape, spec, nearest)
    output = labels(slabs_of(torch.where(covered, features, 0), WHOLE, covered), shape, spec, nearest)
    assert background.any() and not background.all()
    assert np.array_equal(output, np.where(background, 0, whole))


def test_without_slabs_all_is_background():
    empty = (slice(0, 0),) * 3
    assert not labels([], SHAPES[0], ResamplingSpec(1), box=empty).any()


def test_a_slice_repeated_from_a_bare_plane_is_background():
    spec, (_, features) = ResamplingSpec(1), head_and_features()
    covered = torch.ones(LOW, dtype=torch.bool)
    covered[3] = False
    output = labels(slabs_of(torch.where(covered, features, 0), WHOLE, covered), (48, 14, 11), spec, nearest=True)
    assert not output[12:16].any()
    assert output[:12].any() and output[16:].any()
