import itertools

import pytest
import torch

from TuckerSegLib.errors import Cancelled, SpecError
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.sliding_window import StreamSpec, gaussian_weights, patch_origins, stream
from TuckerSegLib.sliding_window.accumulator import Accumulator


def plain(volume: torch.Tensor, predictor, spec: StreamSpec) -> torch.Tensor:
    """The whole volume at once, as nnUNetPredictor does it, in float32."""
    from acvl_utils.cropping_and_padding.padding import pad_nd_image

    data, crop = pad_nd_image(volume, spec.patch_shape, "constant", {"value": 0}, True)
    weights = gaussian_weights(spec.patch_shape)
    total, weight_total = None, torch.zeros(data.shape[1:])
    for origin in patch_origins(data.shape[1:], spec.patch_shape, spec.step_fraction):
        box = tuple(slice(start, start + size) for start, size in zip(origin, spec.patch_shape))
        patch = data[(slice(None), *box)][None]
        axes = [axis + 2 for axis in spec.mirror_axes]
        flips = [chosen for count in range(len(axes) + 1) for chosen in itertools.combinations(axes, count)]
        predicted = torch.stack([predictor(patch.flip(chosen)).flip(chosen)[0] for chosen in flips]).mean(0)
        total = torch.zeros((len(predicted), *data.shape[1:])) if total is None else total
        total[(slice(None), *box)] += predicted * weights
        weight_total[box] += weights
    return (total / weight_total)[(slice(None), *crop[1:])]


def convolution(channels: int, features: int):
    torch.manual_seed(0)
    return torch.nn.Conv3d(channels, features, 3, padding=1).requires_grad_(False)


def collected(slabs) -> torch.Tensor:
    slabs = list(slabs)
    assert [slab.start for slab in slabs] == [0, *(slab.stop for slab in slabs[:-1])]
    return torch.cat([slab.features for slab in slabs], dim=1)


@pytest.mark.parametrize(
    ("shape", "step", "mirror", "batch"),
    [
        ((40, 21, 33), 0.5, (), 1),
        ((40, 21, 33), 0.5, (), 4),
        ((40, 21, 33), 0.3, (0, 2), 5),
        ((16, 12, 20), 0.5, (0, 1, 2), 1),  # one patch exactly
        ((5, 30, 7), 0.8, (1,), 3),  # padded along Z and X
        ((9, 7, 11), 0.5, (), 2),  # padded everywhere
        ((53, 12, 20), 1.0, (), 3),
    ],
)
def test_streaming_equals_the_plain_computation(shape, step, mirror, batch):
    volume = torch.randn((2, *shape), generator=torch.Generator().manual_seed(1))
    predictor = convolution(2, 6)
    spec = StreamSpec((16, 12, 20), step, mirror, batch)
    means, expected = collected(stream(volume, predictor, spec)), plain(volume, predictor, spec)
    assert means.shape == expected.shape and means.dtype == torch.float32
    assert (means - expected).abs().max() < 2e-6
    assert torch.equal(means.argmax(0), expected.argmax(0))


@pytest.mark.parametrize("step", [0.25, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(31, 20, 45), (8, 9, 10), (3, 50, 12)])
def test_an_identity_predictor_returns_the_volume_for_any_grid(shape, step):
    volume = torch.randn((3, *shape), generator=torch.Generator().manual_seed(2))
    spec = StreamSpec((8, 12, 16), step, (0, 1, 2), 3)
    assert (collected(stream(volume, lambda patches: patches, spec)) - volume).abs().max() < 1e-5


def test_a_predictor_may_reuse_its_output_and_answer_in_half_precision():
    volume = torch.randn((1, 30, 14, 15), generator=torch.Generator().manual_seed(3))
    store = torch.empty((1, 1, 10, 10, 10), dtype=torch.bfloat16)
    spec = StreamSpec((10, 10, 10), 0.5, (1,))
    mean = collected(stream(volume, lambda patches: store.copy_(patches), spec))
    assert mean.dtype == torch.float32  # the mean of mirrored predictions
    assert (mean - volume).abs().max() < 0.02


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_means_of_predictions_in_16_bits_are_those_of_single_precision_but_for_rounding(dtype):
    volume = torch.randn((2, 40, 34, 38), generator=torch.Generator().manual_seed(4)) * 20
    drift = iter(torch.linspace(0, 4, 200))  # overlapping patches disagree

    def predictor(patches):
        return (patches.repeat(1, 2, 1, 1, 1) + next(drift)).to(dtype)

    spec = StreamSpec((20, 20, 20), 0.5)
    means = collected(stream(volume, predictor, spec))
    drift = iter(torch.linspace(0, 4, 200))
    expected = collected(stream(volume, lambda patches: predictor(patches).float(), spec))
    assert means.dtype == torch.float16 and expected.dtype == torch.float32
    assert ((means.float() - expected).abs() <= 2e-3 * expected.abs() + 2e-2).all()
    corner = means[:, 0, 0, 0]  # one patch has it, with a weight that float16 does not know
    assert torch.equal(corner, volume.repeat(2, 1, 1, 1)[:, 0, 0, 0].to(dtype).to(torch.float16))


def test_slabs_leave_as_soon_as_no_later_patch_touches_them():
    calls = []
    spec = StreamSpec((10, 10, 10), 0.5)
    volume = torch.zeros((1, 30, 10, 10))
    slabs = stream(
        volume, lambda patches: patches, spec, monitor=Monitor(lambda told: calls.append((told["done"], told["total"])))
    )
    assert [(slab.start, slab.stop, calls[-1]) for slab in slabs] == [
        (0, 5, (1, 5)),
        (5, 10, (2, 5)),
        (10, 15, (3, 5)),
        (15, 20, (4, 5)),
        (20, 25, (5, 5)),
        (25, 30, (5, 5)),
    ]


def test_memory_follows_one_layer_of_patches():
    from torch.multiprocessing.reductions import StorageWeakRef

    alive, most = [], 0
    spec = StreamSpec((10, 8, 8), 0.5)
    for slab in stream(torch.zeros((1, 200, 8, 8)), lambda patches: patches.repeat(1, 4, 1, 1, 1), spec):
        alive.append(StorageWeakRef(slab.features.untyped_storage()))
        most = max(most, sum(not reference.expired() for reference in alive))
    assert most <= 2


def test_no_more_planes_are_summed_than_a_patch_has():
    accumulator = Accumulator((10, 4, 4), (0, 8, 16), (slice(0, 26), slice(0, 4), slice(0, 4)))
    for layer, finished in [(0, (0, 8)), (8, (8, 16)), (16, None)]:
        accumulator.add((layer, 0, 0), torch.ones((2, 10, 4, 4)))
        assert sum(len(weights) for _, weights in accumulator._sums.values()) == 10
        upcoming = finished[1] if finished else None
        assert sum(piece.means.shape[1] for piece in accumulator.finished(upcoming)) == (8 if finished else 10)


def test_batches_are_as_large_as_asked_and_the_last_is_the_rest():
    sizes = []

    def predictor(patches):
        sizes.append(len(patches))
        return patches

    list(stream(torch.zeros((1, 20, 20, 10)), predictor, StreamSpec((10, 10, 10), 0.5, batch_size=4)))
    assert sizes == [4, 4, 1]


def test_cancel_ends_the_stream_before_the_next_patch():
    calls = []
    volume = torch.zeros((1, 40, 10, 10))
    slabs = stream(
        volume,
        lambda patches: calls.append(1) or patches,
        StreamSpec((10, 10, 10), 0.5),
        monitor=Monitor(cancelled=lambda: len(calls) == 2),
    )
    with pytest.raises(Cancelled):
        list(slabs)
    assert len(calls) == 2


def test_bad_spec_are_refused():
    with pytest.raises(SpecError):
        StreamSpec((8, 8, 8), batch_size=0)
    with pytest.raises(SpecError):
        StreamSpec((8, 8, 8), mirror_axes=(3,))
    with pytest.raises(SpecError):
        next(stream(torch.zeros(8, 8, 8), lambda patches: patches, StreamSpec((8, 8, 8))))
