"""The body's mask errs towards too much: nothing of a body is ever outside it."""

from __future__ import annotations

import numpy as np
import pytest

from TuckerSegLib.preprocessing.body_mask import MARGIN_MM, find_body

AIR, TISSUE, LUNG, BONE, SHELL = -1000, 40, -850, 700, -150


class Phantom:
    """A CT that is put together of bodies; millimeters along (Z, Y, X), its first slice at ``begin_mm``."""

    def __init__(self, size_mm=(400, 450, 500), spacing_mm=(4.0, 4.0, 4.0), air=AIR, begin_mm=0.0):
        self.spacing_mm = spacing_mm
        shape = [round(size / spacing) for size, spacing in zip(size_mm, spacing_mm)]
        self._grid = [(np.arange(count) + 0.5) * spacing for count, spacing in zip(shape, spacing_mm)]
        self._grid[0] += begin_mm
        self.volume = np.full(shape, air, dtype=np.int16)
        self.inside = np.zeros(shape, dtype=bool)

    def ellipsoid(self, center, radii, value=TISSUE):
        return self._paint(self._distance(center, radii) <= 1, value)

    def cylinder(self, along_mm, center, radii, value=TISSUE):
        """Along Z."""
        z = self._grid[0][:, None, None]
        inside = (self._distance((0, *center), (1e9, *radii)) <= 1) & (z >= along_mm[0]) & (z < along_mm[1])
        return self._paint(inside, value)

    def table(self, y_mm=370.0):
        """Two thin shells around foam, all along the volume, as wide as it; not a part of the body."""
        z, y, x = np.ix_(*self._grid)
        everywhere = (z >= 0) & (x >= 0)
        self.volume[(abs(y - y_mm) < 4) & everywhere] = SHELL
        self.volume[(abs(y - y_mm - 40) < 4) & everywhere] = SHELL
        self.volume[(y > y_mm + 4) & (y < y_mm + 36) & everywhere] = -930
        return self

    def padded(self, value=-1024, voxels=30):
        self.volume = np.pad(self.volume, voxels, constant_values=value)
        self.inside = np.pad(self.inside, voxels)
        return self

    def cropped(self, *box):
        self.volume, self.inside = self.volume[box], self.inside[box]
        return self

    def _distance(self, center, radii):
        parts = [((axis - c) / r) ** 2 for axis, c, r in zip(np.ix_(*self._grid), center, radii)]
        return parts[0] + parts[1] + parts[2]

    def _paint(self, where, value):
        self.volume[where] = value
        self.inside |= where
        return self


def chest(**settings) -> Phantom:
    """Trunk with two lungs that are open at the volume's upper end, a trachea, and an arm at each side."""
    phantom = Phantom(**settings)
    phantom.cylinder((0, 400), (225, 250), (110, 160))
    for side in (-80, 80):
        phantom.cylinder((150, 400), (225, 250 + side), (80, 60), LUNG)
        phantom.cylinder((0, 400), (250, 250 + 2.35 * side), (25, 25))
    phantom.cylinder((300, 400), (225, 250), (10, 10), AIR)
    return phantom


def mask_of(phantom: Phantom) -> np.ndarray:
    """The body's mask on the phantom's own grid."""
    body = find_body(phantom.volume, phantom.spacing_mm)
    assert body.mask is not None, body.doubt
    indices = [np.arange(size) * new // size for size, new in zip(phantom.volume.shape, body.mask.shape)]
    return body.mask[np.ix_(*indices)]


def shares(phantom: Phantom) -> tuple[float, float]:
    """Shares of the body and of the volume that the mask holds."""
    mask = mask_of(phantom)
    return float(mask[phantom.inside].mean()), float(mask.mean())


def test_lungs_airways_and_arms_are_inside_and_air_is_not():
    whole, volume = shares(chest())
    assert whole == 1
    assert volume < 0.75
    mask = mask_of(chest())
    assert not mask[:, :10].any() and not mask[:, -10:].any()


@pytest.mark.slow
@pytest.mark.parametrize("spacing_mm", [(0.9, 0.8, 0.8), (5.0, 2.0, 2.0), (3.0, 3.0, 3.0), (10.0, 4.0, 4.0)])
def test_the_voxel_size_does_not_matter(spacing_mm):
    whole, volume = shares(chest(size_mm=(60, 450, 500), spacing_mm=spacing_mm, begin_mm=120.0))
    assert whole == 1
    assert volume < 0.75


@pytest.mark.parametrize("value", [-1000, -1024, -2000, -3024])
def test_padding_of_any_scanner_is_air(value):
    plain, padded = chest(), chest().padded(value)
    assert shares(padded)[0] == 1
    assert mask_of(padded).sum() <= 1.3 * mask_of(plain).sum()
    assert shares(chest(air=value))[0] == 1


@pytest.mark.parametrize("turn", [(0, 1, 2), (0, 2, 1), (2, 1, 0)])
@pytest.mark.parametrize("flip", [False, True])
def test_the_patient_may_lie_in_any_way(turn, flip):
    phantom = chest().table()
    phantom.volume, phantom.inside = phantom.volume.transpose(turn), phantom.inside.transpose(turn)
    if flip:
        phantom.volume, phantom.inside = phantom.volume[:, ::-1], phantom.inside[:, ::-1]
    assert shares(phantom)[0] == 1


@pytest.mark.parametrize("length_mm", [40, 400])
@pytest.mark.parametrize("y_mm", [337, 370])
def test_a_table_is_left_out_though_the_body_lies_on_it(y_mm, length_mm):
    phantom = chest(size_mm=(length_mm, 450, 500)).table(y_mm)
    mask = mask_of(phantom)
    assert mask[phantom.inside].all()
    rows = mask.any(axis=(0, 2))
    assert rows[: int((337 + MARGIN_MM) / 4)].any()
    assert not rows[-8:].any(), "the table's lower shell"
    assert not mask[:, :, :3].any() and not mask[:, :, -3:].any(), "the table's sides"


def test_fingers_ears_and_a_hand_apart_are_kept():
    phantom = chest()
    for finger in range(4):
        phantom.cylinder((40, 120), (60, 60 + 22 * finger), (7, 7))
    phantom.cylinder((0, 40), (60, 95), (12, 45))
    phantom.ellipsoid((350, 100, 420), (15, 6, 15))
    assert shares(phantom)[0] == 1


def test_two_bodies_are_kept():
    phantom = Phantom(size_mm=(900, 300, 300))
    phantom.ellipsoid((150, 150, 150), (120, 80, 100)).ellipsoid((750, 150, 150), (100, 80, 60))
    assert shares(phantom)[0] == 1
    assert shares(phantom)[1] < 0.7


@pytest.mark.parametrize(
    "box",
    [
        (slice(50, 75), slice(35, 80), slice(50, 100)),  # all borders
        (slice(40, 100), slice(0, 113), slice(72, 125)),  # one lung, cut open at its side
        (slice(90, 100), slice(0, 113), slice(0, 125)),  # a few slices
    ],
)
def test_a_field_of_view_that_cuts_the_body_loses_nothing(box):
    phantom = chest().cropped(*box)
    body = find_body(phantom.volume, phantom.spacing_mm)
    assert body.mask is None or shares(phantom)[0] == 1


def test_metal_and_noise_lose_nothing():
    phantom = chest()
    rng = np.random.default_rng(0)
    phantom.volume[50, 56, 20:105] = 3071
    phantom.volume[52, 50:60, 60] = -1024  # a streak
    phantom.volume += (rng.standard_normal(phantom.volume.shape) * 60).astype(np.int16)
    whole, volume = shares(phantom)
    assert whole == 1
    assert volume < 0.8


@pytest.mark.parametrize(
    ("volume", "why"),
    [
        (np.full((50, 50, 50), -1000, dtype=np.int16), "no body"),
        (np.random.default_rng(0).integers(-1000, -450, (50, 50, 50)), "no body"),
        (Phantom(size_mm=(200, 200, 200)).ellipsoid((100, 100, 100), (20, 20, 20)).volume, "no body"),  # a mouse
        (chest().volume - 350, "dense"),  # water is not 0
        (np.where(chest().volume > -1000, chest().volume, -500), "air"),  # nor air -1000
    ],
)
def test_where_there_is_doubt_there_is_no_mask(volume, why):
    body = find_body(volume, (4.0, 4.0, 4.0))
    assert body.mask is None
    assert why in body.doubt


@pytest.mark.parametrize("offset", [1000, 1024, 32768])
def test_values_that_were_shifted_upwards_have_no_air_to_skip(offset):
    body = find_body(chest().volume.astype(np.int32) + offset, (4.0, 4.0, 4.0))
    assert body.mask is None or body.mask.all()


def test_noise_is_never_skipped():
    noise = np.random.default_rng(0).integers(-1000, 1000, (60, 50, 40)).astype(np.int16)
    body = find_body(noise, (3.0, 3.0, 3.0))
    assert body.mask is None or body.mask.all()


@pytest.mark.parametrize(
    ("name", "labels"),
    [("example_ct", "example_seg"), ("ts_s0002", "ts_s0002_seg"), ("ts_s0003", "ts_s0003_seg")],
)
def test_every_structure_of_real_cts_is_inside(shared_data, name, labels):
    from TuckerSegLib.image import read_image

    ct, truth = (read_image(shared_data / "data" / f"{each}.nii.gz") for each in (name, labels))
    for volume, body_labels in ((ct.array[0], truth.array[0] > 0), _bordered(ct.array[0], truth.array[0] > 0)):
        body = find_body(volume, ct.geometry.spacing_mm)
        assert body.mask is not None, body.doubt
        indices = [np.arange(size) * new // size for size, new in zip(volume.shape, body.mask.shape)]
        assert body.mask[np.ix_(*indices)][body_labels].all()


def _bordered(volume, body_labels):
    return np.pad(volume, 25, constant_values=-1024), np.pad(body_labels, 25)


def test_the_built_in_volume_is_inside():
    from TuckerSegLib.catalog.resources import DEMO_VOLUME
    from TuckerSegLib.image import read_image

    ct, truth = read_image(DEMO_VOLUME), read_image(DEMO_VOLUME.with_name("synthetic_torso_labels.nii.gz"))
    body = find_body(ct.array[0], ct.geometry.spacing_mm)
    indices = [np.arange(size) * new // size for size, new in zip(ct.array.shape[1:], body.mask.shape)]
    assert body.mask[np.ix_(*indices)][truth.array[0] > 0].all()
    assert body.mask.mean() < 0.8
