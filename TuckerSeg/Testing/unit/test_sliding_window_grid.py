import numpy as np
import pytest
import torch

from TuckerSegLib.errors import SpecError
from TuckerSegLib.sliding_window import StreamSpec, gaussian_weights, patch_count, patch_origins


def test_origins_equal_those_of_nnunetv2():
    from itertools import product

    from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window

    generator = np.random.default_rng(0)
    for _ in range(500):
        patch = tuple(int(size) for size in generator.integers(8, 130, size=3))
        shape = tuple(int(size) for size in np.maximum(generator.integers(8, 500, size=3), patch))
        step = float(generator.choice([0.25, 0.5, 0.7, 0.8, 1.0]))
        assert patch_origins(shape, patch, step) == list(product(*compute_steps_for_sliding_window(shape, patch, step)))


def test_origins_are_ordered_along_z_and_cover_the_volume():
    shape, patch = (50, 41, 33), (16, 20, 33)
    origins = patch_origins(shape, patch, 0.5)
    assert origins == sorted(origins)
    covered = np.zeros(shape, dtype=bool)
    for z, y, x in origins:
        covered[z : z + 16, y : y + 20, x : x + 33] = True
    assert covered.all()
    assert patch_count(shape, StreamSpec(patch, 0.5)) == len(origins)


def test_an_axis_shorter_than_the_patch_takes_one_patch():
    assert patch_origins((5, 40, 6), (16, 16, 16), 1.0) == [(0, 0, 0), (0, 12, 0), (0, 24, 0)]


@pytest.mark.parametrize("patch", [(16, 24, 20), (9, 31, 64), (112, 112, 128), (1, 2, 3)])
def test_weights_equal_those_of_nnunetv2(patch):
    from nnunetv2.inference.sliding_window_prediction import compute_gaussian

    expected = compute_gaussian(patch, value_scaling_factor=10, device=torch.device("cpu"))
    assert torch.equal(gaussian_weights(patch), expected.to(torch.float32))
    assert gaussian_weights(patch).min() > 0


def test_bad_grids_are_refused():
    for step in (0, -0.5, 1.5):
        with pytest.raises(SpecError):
            patch_origins((9, 9, 9), (3, 3, 3), step)
    with pytest.raises(SpecError):
        patch_origins((9, 9), (3, 3, 3), 0.5)
