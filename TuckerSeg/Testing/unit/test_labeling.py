import numpy as np
import pytest
import torch
from scipy.ndimage import zoom

from TuckerSegLib.errors import SpecError
from TuckerSegLib.linear_head import Head
from TuckerSegLib.postprocessing import label_slice as slice_labeling
from TuckerSegLib.postprocessing.decision import Decision
from TuckerSegLib.postprocessing.label_volume import label_volume
from TuckerSegLib.resampling import ResamplingSpec, linear_taps
from TuckerSegLib.sliding_window import Slab, StreamSpec, stream

LOW, NATIVE = (12, 14, 11), (31, 29, 40)


def slabs_of(features: torch.Tensor, sizes=(5, 1, 6)) -> list[Slab]:
    stops = np.cumsum(sizes)
    return [Slab(stop - size, stop, features[:, stop - size : stop]) for size, stop in zip(sizes, stops)]


def random_head(classes: int, features: int, seed: int) -> Head:
    generator = torch.Generator().manual_seed(seed)
    return Head(torch.randn(classes, features, generator=generator), torch.randn(classes, generator=generator))


def random_features(features: int, seed: int, smooth: bool = False) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if not smooth:
        return torch.randn((features, *LOW), generator=generator)
    coarse = torch.randn((1, features, 3, 3, 3), generator=generator)
    return torch.nn.functional.interpolate(coarse, size=LOW, mode="trilinear")[0]


def upsampled(volume: torch.Tensor, shape: tuple[int, ...], orders: tuple[int, ...], convention: str) -> torch.Tensor:
    """Plain interpolation of every channel, one axis after the other, in float64."""
    volume = volume.double()
    for axis, (size, order) in enumerate(zip(shape, orders), start=1):
        index0, index1, fraction = linear_taps(volume.shape[axis], size, order, convention)
        fraction = fraction.double().view([-1 if other == axis else 1 for other in range(4)])
        volume = volume.index_select(axis, index0) * (1 - fraction) + volume.index_select(axis, index1) * fraction
    return volume


def logits_of(features: torch.Tensor, head: Head | None) -> torch.Tensor:
    if head is None:
        return features.double()
    bias = 0 if head.bias is None else head.bias.double().view(-1, 1, 1, 1)
    return torch.einsum("lf,fzyx->lzyx", head.weight.double(), features.double()) + bias


def regions_of(logits: torch.Tensor, values: tuple[int, ...]) -> np.ndarray:
    labels = np.zeros(logits.shape[1:], dtype=np.uint8)
    for channel, value in zip(logits, values):
        labels[(torch.sigmoid(channel) > 0.5).numpy()] = value
    return labels


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("convention", ["nnunet", "aligned"])
@pytest.mark.parametrize("classes", [2, 19, 118])
def test_the_shortcut_equals_plain_upsampling_of_logits_and_argmax(classes, convention, smooth):
    features, head = random_features(8, classes, smooth), random_head(classes, 8, classes)
    output = np.full(NATIVE, 255, dtype=np.uint8)
    label_volume(slabs_of(features), head, Decision.for_labels(classes), LOW, output, ResamplingSpec(1, convention))
    expected = upsampled(logits_of(features, head), NATIVE, (1, 1, 1), convention).argmax(0)
    assert np.array_equal(output, expected.numpy())


@pytest.mark.parametrize("shape", [(12, 14, 11), (7, 14, 25), (30, 5, 11), (12, 40, 3), (1, 1, 1), (50, 60, 1)])
def test_any_mix_of_finer_equal_and_coarser_axes_is_exact(shape):
    features, head = random_features(6, 1), random_head(9, 6, 2)
    output = np.zeros(shape, dtype=np.uint8)
    label_volume(slabs_of(features), head, Decision.for_labels(9), LOW, output, ResamplingSpec(1))
    expected = upsampled(logits_of(features, head), shape, (1, 1, 1), "nnunet").argmax(0)
    assert np.array_equal(output, expected.numpy())


def test_small_chunks_change_nothing(monkeypatch):
    features, head = random_features(6, 3), random_head(30, 6, 4)
    results = []
    for rows in (4096, 37):
        monkeypatch.setattr(slice_labeling, "_CHUNK_ROWS", rows)
        results.append(np.zeros(NATIVE, dtype=np.uint8))
        label_volume(slabs_of(features), head, Decision.for_labels(30), LOW, results[-1], ResamplingSpec(1))
    assert np.array_equal(*results)


@pytest.mark.parametrize("headless", [False, True])
def test_regions_equal_thresholded_probabilities_where_later_ones_win(headless):
    values = (3, 1, 7)
    features = random_features(3 if headless else 6, 5)
    head = None if headless else Head(random_head(3, 6, 6).weight)
    output = np.full(NATIVE, 255, dtype=np.uint8)
    label_volume(slabs_of(features), head, Decision.for_regions(values), LOW, output, ResamplingSpec(1))
    expected = regions_of(upsampled(logits_of(features, head), NATIVE, (1, 1, 1), "nnunet"), values)
    assert set(np.unique(expected)) == {0, 1, 3, 7}
    assert np.array_equal(output, expected)


def test_slabs_of_logits_need_no_head():
    logits = random_features(5, 7)
    output = np.zeros(NATIVE, dtype=np.uint8)
    label_volume(slabs_of(logits), None, Decision.for_labels(5), LOW, output, ResamplingSpec(1))
    assert np.array_equal(output, upsampled(logits, NATIVE, (1, 1, 1), "nnunet").argmax(0).numpy())


def test_nearest_equals_scipy_zoom_of_the_low_resolution_labels():
    features, head = random_features(6, 8), random_head(9, 6, 9)
    labels = logits_of(features, head).argmax(0).numpy().astype(np.uint8)
    output = np.zeros(NATIVE, dtype=np.uint8)
    spec = ResamplingSpec(1, "aligned")
    label_volume(slabs_of(features), head, Decision.for_labels(9), LOW, output, spec, nearest=True)
    expected = zoom(labels, [new / old for new, old in zip(NATIVE, LOW)], order=0, mode="nearest")
    assert np.array_equal(output, expected)


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_labels_equal_those_of_nnunetv2s_own_upsampling(axis):
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg

    features, head = random_features(6, 10), random_head(9, 6, 11)
    output = np.zeros(NATIVE, dtype=np.uint8)
    spec = ResamplingSpec(1, "nnunet", separate_axis=axis)
    label_volume(slabs_of(features), head, Decision.for_labels(9), LOW, output, spec)
    logits = logits_of(features, head).numpy()
    expected = resample_data_or_seg(logits, NATIVE, False, axis, 1, axis is not None, order_z=0).argmax(0)
    assert (output == expected).mean() >= 0.9999


def test_features_accumulated_then_head_equal_logits_accumulated():
    volume = torch.randn((1, 25, 22, 19), generator=torch.Generator().manual_seed(12))
    torch.manual_seed(13)
    body = torch.nn.Conv3d(1, 6, 3, padding=1).requires_grad_(False)
    head = random_head(20, 6, 14)
    spec, decision = StreamSpec((12, 10, 11), 0.5, (2,)), Decision.for_labels(20)
    weight = head.weight[:, :, None, None, None]
    results = []
    for predictor, last in (
        (body, head),
        (lambda patch: torch.nn.functional.conv3d(body(patch), weight, head.bias), None),
    ):
        results.append(np.zeros((40, 33, 47), dtype=np.uint8))
        slabs = stream(volume, predictor, spec)
        label_volume(slabs, last, decision, volume.shape[1:], results[-1], ResamplingSpec(1))
    assert np.array_equal(*results)


def test_output_may_be_any_view_and_wide_labels_fit():
    logits = random_features(4, 15)
    plain, stored = np.zeros(NATIVE, dtype=np.uint16), np.zeros(NATIVE[::-1], dtype=np.uint16)
    decision = Decision((0, 700, 5, 301))
    assert decision.dtype == np.uint16 and Decision.for_labels(118).dtype == np.uint8
    for output in (plain, stored[::-1, :, ::-1].T):
        label_volume(slabs_of(logits), None, decision, LOW, output, ResamplingSpec(1))
    assert np.array_equal(stored[::-1, :, ::-1].T, plain)
    assert set(np.unique(plain)) == {0, 5, 301, 700}


def test_more_than_255_classes_are_told_apart():
    features, head = random_features(8, 16), random_head(400, 8, 17)
    output = np.zeros(NATIVE, dtype=np.uint16)
    label_volume(slabs_of(features), head, Decision.for_labels(400), LOW, output, ResamplingSpec(1))
    expected = upsampled(logits_of(features, head), NATIVE, (1, 1, 1), "nnunet").argmax(0)
    assert np.array_equal(output, expected.numpy())


def test_only_two_planes_are_held():
    from torch.multiprocessing.reductions import StorageWeakRef

    alive = []

    def slabs():
        for index in range(LOW[0]):
            features = torch.randn((4, 1, *LOW[1:]))
            alive.append(StorageWeakRef(features.untyped_storage()))
            assert sum(not reference.expired() for reference in alive) <= 3
            yield Slab(index, index + 1, features)
            del features

    label_volume(slabs(), None, Decision.for_labels(4), LOW, np.zeros(NATIVE, dtype=np.uint8), ResamplingSpec(1))


def test_parts_that_do_not_fit_are_refused():
    output = np.zeros(NATIVE, dtype=np.uint8)
    features = random_features(4, 18)
    for slabs, head, decision in (
        (slabs_of(features), random_head(4, 5, 0), Decision.for_labels(4)),
        (slabs_of(features), random_head(4, 4, 0), Decision.for_labels(5)),
        (slabs_of(features)[:2], None, Decision.for_labels(4)),
    ):
        with pytest.raises(SpecError):
            label_volume(slabs, head, decision, LOW, output, ResamplingSpec(1))
