import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, zoom

from TuckerSegLib.errors import SpecError
from TuckerSegLib.resampling import ResamplingSpec, linear_taps, output_shape, resample, separate_axis

SHAPES = [
    ((20, 31, 27), (13, 14, 40)),
    ((1, 30, 22), (1, 17, 44)),
    ((5, 9, 11), (12, 9, 3)),
    ((33, 8, 1), (66, 7, 5)),
    ((40, 23, 19), (1, 50, 19)),
]


def hounsfield(shape: tuple[int, ...], seed: int, smooth: bool) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(-1024, 3000, size=shape)
    return (gaussian_filter(noise, 2) if smooth else noise).astype(np.int16)


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize(("shape", "new_shape"), SHAPES)
def test_nnunet_convention_equals_nnunetv2(shape, new_shape, order, smooth):
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape

    volume = np.stack([hounsfield(shape, 1, smooth), hounsfield(shape, 2, smooth) // 7])
    expected = resample_data_or_seg_to_shape(
        volume.astype(np.float32), new_shape, (1, 1, 1), (1, 1, 1), order=order, force_separate_z=False
    )
    resampled = resample(volume, new_shape, ResamplingSpec(order=order))
    assert np.abs(resampled.numpy() - expected).max() < 1e-3


@pytest.mark.parametrize("order_z", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_separate_axis_equals_nnunetv2(axis, order_z):
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape

    shape, new_shape = (17, 20, 23), (29, 12, 31)
    spacing = [1.0, 1.1, 1.2]
    spacing[axis] = 5.0
    assert separate_axis(spacing, (1, 1, 1)) == axis
    volume = hounsfield((1, *shape), 3, smooth=False)
    expected = resample_data_or_seg_to_shape(
        volume.astype(np.float32), new_shape, spacing, (1, 1, 1), order_z=order_z, force_separate_z=None
    )
    spec = ResamplingSpec(separate_axis=axis, separate_order=order_z)
    assert np.abs(resample(volume, new_shape, spec).numpy() - expected).max() < 1e-3


def test_separate_axis_is_chosen_as_by_nnunetv2():
    from nnunetv2.preprocessing.resampling.default_resampling import determine_do_sep_z_and_axis

    generator = np.random.default_rng(4)
    for _ in range(300):
        old, new = generator.choice([0.7, 1.0, 1.5, 3.0, 5.0], size=(2, 3))
        for force in (None, True, False):
            do_separate, axis = determine_do_sep_z_and_axis(force, old, new)
            assert separate_axis(old, new, force) == (axis if do_separate else None)


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize(("shape", "new_shape"), SHAPES)
def test_aligned_convention_equals_scipy_zoom(shape, new_shape, order, smooth):
    volume = hounsfield(shape, 5, smooth)
    factors = [new / old for new, old in zip(new_shape, shape)]
    expected = zoom(volume.astype(np.float64), factors, order=order, mode="nearest")
    resampled = resample(volume[None], new_shape, ResamplingSpec(order, "aligned"))[0]
    assert resampled.shape == expected.shape
    assert np.abs(resampled.numpy() - expected).max() < 1e-3


@pytest.mark.parametrize(("shape", "new_shape"), SHAPES)
def test_whole_numbers_are_those_that_scipys_double_precision_is_cut_to(shape, new_shape):
    volume = hounsfield(shape, 5, False).round()
    factors = [new / old for new, old in zip(new_shape, shape)]
    exact = zoom(volume.astype(np.float64), factors, order=1, mode="nearest")
    resampled = resample(volume[None], new_shape, ResamplingSpec(1, "aligned", whole_numbers=True))[0].numpy()
    clear = np.abs(exact - exact.round()) > 1e-9  # beside them the order of the sums decides
    assert np.array_equal(resampled[clear], np.trunc(exact)[clear])
    assert np.abs(resampled - np.trunc(exact)).max() <= 1


def test_many_slabs_of_a_large_volume_equal_one(monkeypatch):
    volume = hounsfield((1, 50, 30, 20), 6, smooth=False)
    whole = resample(volume, (30, 40, 9), ResamplingSpec())
    monkeypatch.setattr("TuckerSegLib.resampling._SLAB_VOXELS", 2000)
    assert (resample(volume, (30, 40, 9), ResamplingSpec()) - whole).abs().max() < 1e-3


def test_views_with_any_strides_give_the_same_numbers():
    volume = hounsfield((24, 18, 30), 7, smooth=True)
    flipped = np.ascontiguousarray(volume.transpose(2, 0, 1)[::-1, :, ::-1])
    view = flipped[::-1, :, ::-1].transpose(1, 2, 0)
    assert np.array_equal(view, volume) and not view.flags.c_contiguous
    for spec in (ResamplingSpec(3, "aligned"), ResamplingSpec()):
        difference = resample(view[None], (11, 25, 16), spec) - resample(volume[None], (11, 25, 16), spec)
        assert difference.abs().max() < 1e-3


@pytest.mark.parametrize("shape", [(8, 9, 10), (5, 14, 7)])
def test_values_are_changed_before_resampling_and_the_input_is_not(shape):
    volume = np.random.default_rng(10).normal(size=(2, 8, 9, 10)).astype(np.float32)
    untouched = volume.copy()
    resampled = resample(volume, shape, ResamplingSpec(), before=lambda values: np.exp(values, out=values))
    assert np.array_equal(volume, untouched)
    assert (resampled - resample(np.exp(volume), shape, ResamplingSpec())).abs().max() < 1e-6


def test_identical_shape_changes_nothing():
    volume = hounsfield((2, 7, 8, 9), 8, smooth=False)
    for convention in ("nnunet", "aligned"):
        assert torch.equal(
            resample(volume, (7, 8, 9), ResamplingSpec(3, convention)), torch.from_numpy(volume).to(torch.float32)
        )


def test_output_shape_is_that_of_nnunetv2_and_of_scipy():
    from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape

    generator = np.random.default_rng(9)
    for _ in range(200):
        shape = generator.integers(2, 40, size=3)
        old, new = generator.uniform(0.5, 4, size=(2, 3)).round(2)
        ours = output_shape(shape, old, new)
        assert ours == tuple(max(1, size) for size in compute_new_shape(shape, old, new))
        assert output_shape(shape, old, new, "aligned") == tuple(
            max(1, int(round(size * factor))) for size, factor in zip(shape, old / new)
        )


@pytest.mark.parametrize("convention", ["nnunet", "aligned"])
@pytest.mark.parametrize("order", [0, 1])
def test_linear_taps_reproduce_the_axis_matrix(order, convention):
    for size_in, size_out in [(10, 27), (27, 10), (5, 5), (1, 6), (6, 1), (100, 373)]:
        index0, index1, fraction = linear_taps(size_in, size_out, order, convention)
        values = torch.linspace(-3, 5, size_in) ** 3
        interpolated = values[index0] * (1 - fraction) + values[index1] * fraction
        expected = resample(values.view(1, 1, 1, -1), (1, 1, size_out), ResamplingSpec(order, convention)).flatten()
        assert (interpolated - expected).abs().max() < 1e-4
        assert order == 1 or (fraction == 0).all()


def test_taps_keep_the_last_plane_that_scipy_loses_with_its_default_mode():
    assert zoom(np.ones(197), 191 / 197, order=0)[-1] == 0
    index0, _, _ = linear_taps(197, 191, 0, "aligned")
    assert index0[-1] == 196


def test_bad_settings_are_refused():
    for wrong in (
        {"order": 7},
        {"convention": "itk"},
        {"separate_axis": 3},
        {"convention": "aligned", "separate_axis": 0},
    ):
        with pytest.raises(SpecError):
            ResamplingSpec(**wrong)
    with pytest.raises(SpecError):
        resample(np.zeros((3, 3, 3)), (2, 2, 2), ResamplingSpec())
    with pytest.raises(SpecError):
        output_shape((3, 3, 3), (1, 0, 1), (1, 1, 1))
