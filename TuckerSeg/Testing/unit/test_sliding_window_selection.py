"""Patches that are left out, and a grid over a part of the volume: what is computed is computed as ever."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from TuckerSegLib.errors import Cancelled
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.sliding_window import StreamSpec, patch_origins, select_patches, stream

PATCH = (16, 12, 20)
SHAPES = [(40, 21, 33), (53, 12, 61), (5, 60, 70), (70, 40, 7)]


def volume_of(shape, seed=1):
    return torch.randn((2, *shape), generator=torch.Generator().manual_seed(seed))


def network(channels=2, features=5):
    torch.manual_seed(0)
    return torch.nn.Conv3d(channels, features, 3, padding=1).requires_grad_(False)


def selected(shape, spec, wanted=None, keep_grid=False):
    return select_patches(shape, spec.patch_shape, spec.step_fraction, wanted, keep_grid)


def put_together(slabs, selection, shape) -> tuple[torch.Tensor, torch.Tensor]:
    """Features in the whole volume, zero where there are none, and where they are; slabs must leave no gap."""
    slabs = list(slabs)
    planes = selection.box[0]
    assert [slab.start for slab in slabs] == [planes.start, *(slab.stop for slab in slabs[:-1])]
    assert slabs[-1].stop == planes.stop
    features = torch.zeros((len(slabs[0].features), *shape))
    covered = torch.zeros(shape, dtype=torch.bool)
    features[(slice(None), *selection.box)] = torch.cat([slab.features for slab in slabs], dim=1)
    parts = [
        slab.covered if slab.covered is not None else torch.ones(slab.features.shape[1:], dtype=torch.bool)
        for slab in slabs
    ]
    covered[selection.box] = torch.cat(parts)
    return features, covered


def plain(volume, predictor, spec):
    return torch.cat([slab.features for slab in stream(volume, predictor, spec)], dim=1)


def corner(shape, fraction=0.3):
    """A mask of a box at the end of each axis, and a voxel in the opposite corner."""
    wanted = np.zeros(shape, dtype=bool)
    wanted[tuple(slice(int(size * (1 - fraction)), None) for size in shape)] = True
    wanted[0, 0, 0] = True
    return wanted


@pytest.mark.parametrize("shape", SHAPES)
def test_where_everything_is_wanted_nothing_changes_by_a_bit(shape):
    volume, predictor, spec = volume_of(shape), network(), StreamSpec(PATCH, 0.5, (0, 2), 3)
    expected = plain(volume, predictor, spec)
    for wanted in (None, np.ones(shape, dtype=bool), np.ones((3, 1, 2), dtype=bool)):
        selection = selected(shape, spec, wanted)
        assert selection.skipped == 0
        features, covered = put_together(stream(volume, predictor, spec, selection=selection), selection, shape)
        assert covered.all()
        assert torch.equal(features, expected)


@pytest.mark.parametrize("step", [0.3, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_wanted_voxels_are_equal_bit_by_bit_and_bare_ones_are_told(shape, step):
    volume, predictor, spec = volume_of(shape), network(), StreamSpec(PATCH, step)
    wanted = corner(shape)
    selection = selected(shape, spec, wanted, keep_grid=True)
    assert selection.skipped > 0
    features, covered = put_together(stream(volume, predictor, spec, selection=selection), selection, shape)
    assert torch.equal(features[:, wanted], plain(volume, predictor, spec)[:, wanted])
    assert covered[torch.from_numpy(wanted)].all()
    pads = [max(patch - size, 0) // 2 for patch, size in zip(PATCH, shape)]
    touched = torch.zeros(shape, dtype=torch.bool)
    for origin in selection.origins:
        low = [first - pad for first, pad in zip(origin, pads)]
        touched[tuple(slice(max(first, 0), first + patch) for first, patch in zip(low, PATCH))] = True
    assert torch.equal(covered, touched)
    assert not features[:, ~covered].any()


def test_voxels_whose_patches_are_partly_left_out_get_the_mean_of_the_others():
    shape, spec = (40, 12, 20), StreamSpec(PATCH, 0.5)
    wanted = np.zeros(shape, dtype=bool)
    wanted[:2] = True
    selection = selected(shape, spec, wanted, keep_grid=True)
    assert selection.origins == ((0, 0, 0),)
    values = iter([7.0])
    slabs = stream(volume_of(shape), lambda patches: torch.full_like(patches, next(values)), spec, selection=selection)
    features, covered = put_together(slabs, selection, shape)
    assert (features[:, :16] - 7).abs().max() < 1e-6
    assert covered[:16].all() and not covered[16:].any()


@pytest.mark.parametrize("keep_grid", [True, False])
def test_a_network_that_always_says_the_same_says_it_wherever_it_was_run(keep_grid):
    shape, spec = (60, 40, 70), StreamSpec(PATCH, 0.4)
    rng = np.random.default_rng(3)
    wanted = np.zeros(shape, dtype=bool)
    wanted[tuple(rng.integers(0, size, 4) for size in shape)] = True
    selection = selected(shape, spec, wanted, keep_grid)
    assert selection.skipped
    slabs = stream(volume_of(shape), lambda patches: torch.full_like(patches, 3.5), spec, selection=selection)
    features, covered = put_together(slabs, selection, shape)
    assert (features[:, covered] - 3.5).abs().max() < 1e-5
    assert covered[torch.from_numpy(wanted)].all()


def test_planes_that_no_patch_reaches_come_bare_and_without_memory():
    shape, spec = (100, 12, 20), StreamSpec(PATCH, 0.5)
    wanted = np.zeros(shape, dtype=bool)
    wanted[[0, 99]] = True
    selection = selected(shape, spec, wanted, keep_grid=True)
    slabs = list(stream(volume_of(shape), network(), spec, selection=selection))
    assert [(slab.start, slab.stop) for slab in slabs] == [(0, 16), (16, 84), (84, 100)]
    gap = slabs[1]
    assert gap.features.shape == (5, 68, 12, 20)
    assert not gap.covered.any() and not gap.features.any()
    assert gap.features.untyped_storage().nbytes() == 5 * 4


@pytest.mark.parametrize("shape", [(60, 50, 70), (24, 50, 70), (5, 50, 70)])
def test_a_grid_over_the_box_of_what_is_wanted_is_that_of_the_box_cut_out(shape):
    volume, predictor, spec = volume_of(shape), network(), StreamSpec(PATCH, 0.5)
    box = (slice(0, shape[0]), slice(13, 13 + 20), slice(2, 2 + 41))
    wanted = np.zeros(shape, dtype=bool)
    wanted[box] = True
    selection = selected(shape, spec, wanted)
    assert selection.box == box
    assert selection.total == len(patch_origins(shape, PATCH, 0.5))
    assert len(selection.origins) == len(patch_origins(wanted[box].shape, PATCH, 0.5)) < selection.total
    features, _ = put_together(stream(volume, predictor, spec, selection=selection), selection, shape)
    assert torch.equal(features[(slice(None), *box)], plain(volume[(slice(None), *box)], predictor, spec))


def test_a_box_smaller_than_a_patch_is_seen_with_what_lies_around_it():
    shape, spec = (60, 50, 70), StreamSpec(PATCH, 0.5)
    wanted = np.zeros(shape, dtype=bool)
    wanted[30, 49, 1] = True
    seen = []
    selection = selected(shape, spec, wanted)
    volume = volume_of(shape)
    slabs = stream(volume, lambda patches: seen.append(patches) or patches, spec, selection=selection)
    features, covered = put_together(slabs, selection, shape)
    assert torch.equal(features[:, covered], volume[:, covered])
    assert covered.sum() == np.prod(PATCH)
    assert len(selection.origins) == 1 and selection.alone
    assert seen[0].shape[2:] == PATCH
    assert torch.equal(seen[0][0], volume[(slice(None), *selection.box)])
    assert all(part.start <= index < part.stop for part, index in zip(selection.box, (30, 49, 1)))


def test_the_grid_moves_only_where_that_spares_patches():
    shape, spec = (60, 50, 70), StreamSpec(PATCH, 0.5)
    wanted = np.ones(shape, dtype=bool)
    wanted[:, 0] = False
    assert selected(shape, spec, wanted).origins == tuple(patch_origins(shape, PATCH, 0.5))


def test_a_coarse_mask_wants_every_voxel_that_it_touches():
    shape, spec = (37, 29, 41), StreamSpec((8, 8, 8), 1.0)
    rng = np.random.default_rng(0)
    for coarse_shape in itertools.product((3, 10), (2, 7), (5, 41)):
        coarse = rng.random(coarse_shape) < 0.03
        index = [np.arange(size) for size in shape]
        fine = np.zeros(shape, dtype=bool)
        for voxel in zip(*np.nonzero(coarse)):
            touched = [
                ((i + 1) * new > v * size) & (i * new < (v + 1) * size)
                for i, v, size, new in zip(index, voxel, shape, coarse_shape)
            ]
            fine[np.ix_(*touched)] = True
        expected = set(selected(shape, spec, fine, keep_grid=True).origins)
        assert set(selected(shape, spec, coarse, keep_grid=True).origins) == expected


def test_where_nothing_is_wanted_nothing_is_run():
    shape, spec = (60, 50, 70), StreamSpec(PATCH, 0.5)
    selection = selected(shape, spec, np.zeros(shape, dtype=bool))
    assert selection.skipped == selection.total
    assert list(stream(volume_of(shape), None, spec, selection=selection)) == []


def test_progress_and_cancel_count_only_what_is_run():
    shape, spec = (60, 50, 70), StreamSpec(PATCH, 0.5, batch_size=2)
    wanted = corner(shape)
    selection = selected(shape, spec, wanted, keep_grid=True)
    calls, count = [], len(selection.origins)
    slabs = stream(volume_of(shape), network(), spec, Monitor(calls.append), selection)
    list(slabs)
    assert [(told["done"], told["total"]) for told in calls] == [
        (min(done + 2, count), count) for done in range(0, count, 2)
    ]
    run = []
    with pytest.raises(Cancelled):
        slabs = stream(
            volume_of(shape),
            lambda patches: run.append(1) or patches,
            spec,
            monitor=Monitor(cancelled=lambda: len(run) == 3),
            selection=selection,
        )
        list(slabs)
    assert len(run) == 3
