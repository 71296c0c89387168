"""What is said of an image before a run: its values, its slices, its grid, the body in it."""

from __future__ import annotations

import numpy as np
import pytest

from TuckerSegLib.image import Geometry, Image, oriented, read_image
from TuckerSegLib.quality import check_field, check_image
from TuckerSegLib.quality.grid import check_grid
from TuckerSegLib.quality.slices import content_box
from TuckerSegLib.records.quality_report import INFO, WARNING

SPACING_MM = 4.0
SHAPE = (40, 80, 100)  # 160 x 320 x 400 mm
AFFINE = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])


def trunk(noise=20):
    """An oval body in air with a spine at its back: HU, (Z, Y, X), axes to the right, anterior and superior."""
    z, y, x = np.meshgrid(*(np.arange(size) * SPACING_MM for size in SHAPE), indexing="ij")
    array = np.full(SHAPE, -1000.0)
    array[((x - 200) / 170) ** 2 + ((y - 160) / 110) ** 2 < 1] = 40
    array[((x - 200) / 60) ** 2 + ((y - 180) / 40) ** 2 < 1] = -90  # fat, and a sternum in front of it
    array[(abs(x - 200) < 24) & (abs(y - 90) < 24)] = 600
    array[(abs(x - 200) < 16) & (abs(y - 256) < 6)] = 500
    random = np.random.default_rng(0)
    return np.clip(array + 30 * np.sin(z / 40) + random.normal(0, noise, SHAPE), -1024, 3000).astype(np.int16)


def image_of(array, affine=AFFINE):
    return Image(array[None], Geometry(array.shape, affine), "ct")


def findings(array, affine=AFFINE, **options):
    return {finding.code: finding for finding in check_image(image_of(array, affine), **options).findings}


@pytest.fixture(scope="module")
def ct():
    return trunk()


def test_a_ct_as_scanned_raises_nothing(ct):
    assert findings(ct) == {}
    assert check_image(image_of(ct)).bones_in_front < -0.1


@pytest.mark.parametrize(
    "low, high, reason",
    [(0, 255, "8-bit"), (-1, 1, "less than 100"), (0, 3000, "1024"), (-150, 900, "no air"), (-1000, 2900, None)],
)
def test_intensities_that_are_plainly_not_hounsfield_units_are_told(low, high, reason):
    array = np.linspace(low, high, 8000, dtype=np.float32).reshape(20, 20, 20)
    finding = findings(array).get("intensities")
    if reason is None:
        assert finding is None
    else:
        assert finding.severity == WARNING
        assert reason in finding.words and f"found {low} to {high}" in finding.words


def test_a_ct_without_air_is_told_as_information(ct):
    finding = findings(np.maximum(ct, -500))["intensities"]
    assert finding.severity == INFO and "nothing below -500" in finding.words


def test_other_modalities_are_not_measured_by_hounsfield_units(ct):
    shifted = ct + np.int16(1024)
    assert findings(shifted)["intensities"].severity == WARNING
    assert findings(shifted, expects_hounsfield=False) == {}


def test_a_display_window_is_told(ct):
    finding = findings(np.minimum(ct, 400))["window"]
    assert finding.severity == WARNING and "largest value, 400" in finding.words


def test_eight_bits_stretched_to_hounsfield_units_are_told(ct):
    stretched = np.rint((ct + 1024.0) / 16) * 16 - 1024
    finding = findings(stretched.astype(np.int16))["coarse-steps"]
    assert finding.severity == WARNING and finding.numbers["values"] < 256


def test_values_between_whole_units_are_told_as_information(ct):
    assert findings(ct + np.float32(0.25))["fractions"].severity == INFO
    assert "fractions" not in findings(ct.astype(np.float32))


def test_blank_slices_at_the_ends_are_padding_and_left_out_of_the_content(ct):
    padded = np.full((50, 90, 100), -1024, np.int16)
    padded[3:43, 10:, :] = ct
    checked = check_image(image_of(padded))
    assert checked.content == (slice(3, 43), slice(10, 90), slice(0, 100))
    by_code = {finding.code: finding for finding in checked.findings}
    assert by_code["padding"].severity == INFO and by_code["padding"].words.startswith("10 of 50 slices")
    assert "blank-slices" not in by_code


def test_blank_slices_between_others_are_told(ct):
    holed = ct.copy()
    holed[[12, 13, 30]] = -1024
    finding = findings(holed)["blank-slices"]
    assert finding.severity == WARNING and "Slices 12, 13, 30 are blank" in finding.words


def test_a_slice_that_is_nearly_blank_is_no_blank_one(ct):
    holed = ct.copy()
    holed[12] = -1024
    holed[12, 3, 5] = -1000  # a first look leaves it out
    assert "blank-slices" not in findings(holed)


def test_slices_that_are_there_twice_are_told(ct):
    finding = findings(np.insert(ct, [7, 20], ct[[7, 20]], axis=0))["copied-slices"]
    assert finding.severity == WARNING and finding.words.startswith("2 of 42 slices")


def test_slices_that_differ_in_one_voxel_are_no_copies(ct):
    twice = np.insert(ct, 7, ct[7], axis=0)
    twice[7, 3, 5] += 1
    assert "copied-slices" not in findings(twice)


@pytest.mark.parametrize("axis, words", enumerate(["slices", "rows", "columns"]))
def test_an_image_enlarged_without_interpolation_is_told(ct, axis, words):
    finding = findings(np.repeat(ct, 2, axis=axis))["copied-slices"]
    assert finding.severity == INFO
    assert words in finding.words and "without interpolation" in finding.words


def tapering(slices=60):
    """A body that changes evenly from slice to slice."""
    z, y, x = np.meshgrid(np.arange(slices), np.arange(64), np.arange(64), indexing="ij")
    body = ((x - 32) ** 2 + (y - 32 + z / 8) ** 2) < (12 + z / 5) ** 2
    noise = np.random.default_rng(1).normal(0, 10, body.shape)
    return (np.where(body, 40.0, -1000.0) + noise).astype(np.int16)


def test_missing_slices_are_seen_where_the_image_jumps():
    whole = tapering()
    assert "jump" not in findings(whole)
    finding = findings(np.delete(whole, range(30, 42), axis=0))["jump"]
    assert finding.severity == WARNING and "between slices 29 and 30 of 48" in finding.words


def test_the_content_of_a_blank_image_is_all_of_it():
    assert content_box(np.zeros((4, 5, 6), np.int16)) == (slice(0, 4), slice(0, 5), slice(0, 6))


@pytest.mark.parametrize(
    "spacing, shape, code, severity",
    [
        ((1, 1, 1), (100, 300, 300), None, None),
        ((6, 1, 1), (60, 300, 300), "thick-slices", INFO),
        ((8, 1, 1), (60, 300, 300), "thick-slices", WARNING),
        ((5, 5, 5), (60, 60, 60), "thick-slices", INFO),
        ((5, 0.5, 0.5), (60, 300, 300), "anisotropy", INFO),
        ((5, 0.7, 0.7), (60, 300, 300), None, None),
        ((3, 1, 1.2), (60, 300, 300), "uneven-pixels", INFO),
        ((2, 3, 3), (60, 400, 300), "spacing", WARNING),
        ((4, 1, 1), (600, 40, 40), "spacing", WARNING),
        ((4, 1, 1), (500, 40, 40), None, None),
        ((1, 1, 1), (60, 512, 512), "spacing", INFO),
    ],
)
def test_grids_that_are_unusual_or_impossible_are_told(spacing, shape, code, severity):
    geometry = Geometry(shape, np.diag([*spacing[::-1], 1.0]))
    severities = {finding.code: finding.severity for finding in check_grid(geometry)}
    assert severities == ({code: severity} if code else {})


def test_a_small_field_of_view_is_told():
    (finding,) = check_field(Geometry((20, 300, 300), AFFINE))
    assert finding.severity == WARNING and "1200 x 1200 x 80 mm" in finding.words
    assert not list(check_field(Geometry((30, 300, 300), AFFINE)))


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SRA"])
def test_bones_before_the_middle_tell_that_front_and_back_are_exchanged(ct, codes):
    view, geometry = oriented(ct, Geometry(ct.shape, AFFINE), codes)
    assert "front-back" not in findings(view, geometry.matrix)
    finding = findings(view, np.diag([1, -1, 1, 1]) @ geometry.matrix)["front-back"]
    assert finding.severity == WARNING and "in front of it" in finding.words
    for kept in ([-1, 1, 1, 1], [1, 1, -1, 1]):
        assert "front-back" not in findings(view, np.diag(kept) @ geometry.matrix)


def test_narrow_bodies_are_not_judged_by_their_bones(ct):
    narrow = ct[:, :, 25:75]  # 200 mm: a head or a limb could be as wide
    assert check_image(image_of(narrow)).bones_in_front is None


def test_a_body_that_is_wider_than_the_image_is_told(ct):
    finding = findings(ct[:, 20:60, 20:80])["truncated-body"]
    assert finding.severity == INFO and "wider than the field of view" in finding.words


@pytest.mark.parametrize(
    "name",
    ["example_ct.nii.gz", "dicom_example", "ts_s0003.nii.gz", "cip_chest_64.nii.gz", "elastix_lung_small.nii.gz"],
)
def test_real_cts_raise_no_warning_and_one_with_front_and_back_exchanged_does(shared_data, name):
    image = read_image(shared_data / "data" / name)
    assert [finding for finding in check_image(image).findings if finding.severity == WARNING] == []
    exchanged = Geometry(image.geometry.shape, np.diag([1, -1, 1, 1]) @ image.geometry.matrix)
    codes = [finding.code for finding in check_image(Image(image.array, exchanged)).findings]
    assert ("front-back" in codes) == (name in ("example_ct.nii.gz", "dicom_example", "cip_chest_64.nii.gz"))


def test_the_damaged_last_slice_of_a_real_ct_is_seen(shared_data):
    by_code = {f.code: f for f in check_image(read_image(shared_data / "data" / "ts_s0002.nii.gz")).findings}
    assert "between slices 99 and 100 of 101" in by_code["jump"].words
