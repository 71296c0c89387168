"""Voxels of the model's grid that no label depends on are left out, and those that are kept stay the same."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from TuckerSegLib.image import Geometry
from TuckerSegLib.linear_head import Head
from TuckerSegLib.postprocessing.decision import Decision
from TuckerSegLib.postprocessing.label_volume import needed_voxels
from TuckerSegLib.postprocessing.probabilities import ProbabilityMean
from TuckerSegLib.preprocessing.preprocess import PreparedVolume
from TuckerSegLib.preprocessing.roi import Roi
from TuckerSegLib.records.job import InferenceSpec
from TuckerSegLib.resampling import ResamplingSpec
from TuckerSegLib.segmentation import kept_voxels
from TuckerSegLib.segmentation.predictor import Network, predict
from TuckerSegLib.sliding_window import Lines, StreamSpec, select_patches, stream
from TuckerSegLib.sliding_window.accumulator import Accumulator

ALL = (None, None, None)
PATCH = (10, 12, 16)


def numbers(*chosen):
    return torch.tensor(chosen, dtype=torch.int64)


def every_second(size):
    return torch.arange(0, size, 2)


def features(layout, dtype):
    """A predictor of 37 features, so that vectors of any width have a rest."""
    torch.manual_seed(0)
    body = torch.nn.Conv3d(1, 37, 1).requires_grad_(False)

    def run(patches):
        values = torch.sin(body(patches) * 30).to(dtype)
        return values.contiguous(memory_format=torch.channels_last_3d) if layout == "last" else values.contiguous()

    return run


def put_together(slabs):
    slabs = list(slabs)
    assert all(slab.start == before.stop for before, slab in zip(slabs, slabs[1:]))
    covered = [
        torch.ones(slab.features.shape[1:], dtype=torch.bool) if slab.covered is None else slab.covered
        for slab in slabs
    ]
    return slabs[0].start, torch.cat([slab.features for slab in slabs], dim=1), torch.cat(covered)


@pytest.mark.parametrize("layout", ["first", "last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(31, 20, 45), (8, 9, 15), (10, 12, 16), (27, 12, 40)])
def test_the_kept_voxels_of_a_stream_are_those_of_the_whole(shape, dtype, layout):
    volume = torch.randn((1, *shape), generator=torch.Generator().manual_seed(1))
    run, spec = features(layout, dtype), StreamSpec(PATCH, 0.5, batch_size=2)
    _, whole, _ = put_together(stream(volume, run, spec))
    for kept in [
        tuple(map(every_second, shape)),
        (None, every_second(shape[1]), None),
        (numbers(3, 4, 7), None, numbers(0, 1, 9, shape[2] - 1)),
    ]:
        _, part, _ = put_together(stream(volume, run, spec, kept=kept))
        expected = whole
        for axis, chosen in enumerate(kept, start=1):
            expected = expected if chosen is None else expected.index_select(axis, chosen)
        assert torch.equal(part, expected)


def test_within_the_box_of_a_mask_slabs_are_counted_by_kept_planes():
    shape = (60, 30, 33)
    mask = np.zeros(shape, bool)
    mask[30:38, 8:10, 4:30] = mask[50:52, 20:22, 4:6] = True
    selection = select_patches(shape, PATCH, 0.5, mask, keep_grid=True)
    volume, spec = torch.randn((1, *shape), generator=torch.Generator().manual_seed(2)), StreamSpec(PATCH, 0.5)
    run = features("last", torch.bfloat16)
    first, whole, covered = put_together(stream(volume, run, spec, selection=selection))
    assert first > 1 and not covered.all()
    kept = tuple(map(every_second, shape))
    start, part, seen = put_together(stream(volume, run, spec, selection=selection, kept=kept))
    assert start == (first + 1) // 2
    odd = [side.start % 2 for side in selection.box]
    assert torch.equal(part, whole[:, odd[0] :: 2, odd[1] :: 2, odd[2] :: 2])
    assert torch.equal(seen, covered[odd[0] :: 2, odd[1] :: 2, odd[2] :: 2])


def test_sums_of_other_voxels_take_no_memory():
    accumulator = Accumulator((64, 64, 64), (0,), (slice(0, 64),) * 3, kept=(every_second(64),) * 3)
    accumulator.add((0, 0, 0), torch.zeros(8, 64, 64, 64))
    (piece,) = accumulator.finished(None)
    assert piece.means.untyped_storage().nbytes() == 8 * 32**3 * 4


def test_lines_know_numbers_and_places():
    lines = Lines(slice(4, 20), numbers(1, 5, 6, 11, 25))
    assert lines.count == 3 and [lines.place(voxel) for voxel in (0, 5, 6, 12, 30)] == [0, 0, 1, 3, 3]
    chosen, places = lines.within(0, 11, 2)
    assert (chosen.tolist(), places) == ([3, 4], slice(0, 2))
    assert Lines(slice(4, 20)).within(0, 11, 2) == (slice(2, 9), slice(0, 7))


@pytest.mark.parametrize(("low", "output"), [((24, 22, 30), (8, 11, 15)), ((30, 40, 30), (9, 40, 31))])
def test_needed_are_the_voxels_that_the_output_lies_on_or_between(low, output):
    nearest = needed_voxels(low, output, ResamplingSpec(1, "aligned"), True, False)
    assert [None if each is None else len(each) for each in nearest] == [
        new if new < 0.75 * old else None for old, new in zip(low, output)
    ]
    (planes, *others) = needed_voxels(low, output, ResamplingSpec(1), False, False)
    assert output[0] <= len(planes) <= min(2 * output[0], 0.75 * low[0]) and others == [None, None]


MODEL = SimpleNamespace(
    plans=SimpleNamespace(patch_shape=(12, 12, 12), region_values=None, logit_channels=5, mirror_axes=())
)


def volume_of(shape, transpose=(0, 1, 2), mask=None, part=None, convention="aligned", orientation=None):
    grid = tuple(2 * shape[axis] + 1 for axis in transpose)
    part = part or tuple(slice(0, size) for size in grid)
    data = torch.randn(1, *(side.stop - side.start for side in part), generator=torch.Generator().manual_seed(3))
    whole, upsampling = (slice(None),) * 3, ResamplingSpec(1, convention)
    place = (Geometry(shape, np.eye(4)), orientation, transpose, whole, upsampling, Roi(mask))
    return PreparedVolume(data, *place, grid_shape=grid, part=part)


CASES = {
    "whole": volume_of((9, 14, 11)),
    "transposed": volume_of((9, 14, 11), (2, 0, 1)),
    "turned": volume_of((9, 14, 11), orientation="LPS"),
    "of a mask": volume_of((20, 14, 11), mask=np.arange(41)[:, None, None] // 8 % 2 > np.zeros((41, 29, 23))),
    "part of the grid": volume_of((19, 14, 11), part=(slice(7, 34), slice(1, 26), slice(3, 20))),
    "coarse": volume_of((9, 14, 11), convention="nnunet"),
}


@pytest.mark.parametrize("has_head", [False, True])
@pytest.mark.parametrize("output_grid", ["nearest", "native"])
@pytest.mark.parametrize("case", CASES)
def test_labels_and_probabilities_stay_the_same(case, output_grid, has_head, monkeypatch):
    generator = torch.Generator().manual_seed(4)
    weight, kernel = torch.randn(5, 3, generator=generator), torch.randn(3 if has_head else 5, generator=generator)

    def run(patches):
        return torch.sin(patches * kernel[None, :, None, None, None] * 9).to(torch.bfloat16)

    network = Network(run, Head(weight, None) if has_head else None, lambda error: False)
    spec = InferenceSpec(output_grid=output_grid, step_fraction=0.5)

    def predicted(with_probabilities=False):
        mean = ProbabilityMean(Decision.for_labels(5), CASES[case].geometry.shape)
        votes = mean.begin_network() if with_probabilities else None
        return predict(CASES[case], MODEL, network, spec, probabilities=votes).labels, mean.volume

    kept, seen = kept_voxels.needed_voxels, []
    monkeypatch.setattr(kept_voxels, "needed_voxels", lambda *told: seen.append(kept(*told)) or seen[-1])
    found, voted = predicted(), predicted(True)
    assert len(np.unique(found[0])) == 5
    if output_grid == "nearest":
        assert [each is not None for each in seen[0]] == [True, not has_head, not has_head]
    monkeypatch.setattr(kept_voxels, "needed_voxels", lambda *_: ALL)
    for each, expected in ((found, predicted()), (voted, predicted(True))):
        np.testing.assert_array_equal(each[0], expected[0])
        np.testing.assert_array_equal(each[1], expected[1])


def test_where_the_box_lies_between_the_voxels_of_the_output_all_of_it_is_kept():
    volume = replace(CASES["whole"], geometry=Geometry((1, 14, 11), np.eye(4)))
    kept = kept_voxels.KeptVoxels.of(volume, (slice(7, 12), slice(0, 29), slice(0, 23)), True, False)
    assert kept.of_grid == ALL and kept.planes == 5
