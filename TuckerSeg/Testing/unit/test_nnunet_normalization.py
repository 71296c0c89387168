"""Normalization as an elementwise map equals nnunetv2's own classes."""

from __future__ import annotations

import numpy as np
import pytest

from TuckerSegLib.errors import ImageError, UnsupportedModelError
from TuckerSegLib.nnunet.normalization import intensity_map
from TuckerSegLib.nnunet.plans import ChannelNormalization

PROPERTIES = {"mean": 12.0, "std": 345.0, "percentile_00_5": -900.0, "percentile_99_5": 1200.0}


@pytest.mark.parametrize(
    "scheme",
    ["CTNormalization", "ZScoreNormalization", "NoNormalization", "RescaleTo01Normalization", "RGBTo01Normalization"],
)
def test_every_scheme_equals_nnunet(scheme):
    from nnunetv2.preprocessing.normalization import default_normalization_schemes

    generator = np.random.default_rng(0)
    image = generator.integers(0, 255, (9, 10, 11)).astype(np.int16)
    expected = getattr(default_normalization_schemes, scheme)(False, PROPERTIES).run(image.astype(np.float32))
    found = intensity_map(image, ChannelNormalization(scheme, False, **PROPERTIES)).apply_(image.astype(np.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_masked_z_score_takes_its_statistics_inside_the_mask():
    from nnunetv2.preprocessing.normalization.default_normalization_schemes import ZScoreNormalization

    image = np.random.default_rng(1).normal(100, 20, (6, 7, 8)).astype(np.float32)
    mask = np.zeros(image.shape, bool)
    mask[2:5] = True
    expected = ZScoreNormalization(True, PROPERTIES).run(image.copy(), np.where(mask, 0, -1))
    mapping = intensity_map(image, ChannelNormalization("ZScoreNormalization", True), mask)
    np.testing.assert_allclose(mapping.apply_(image.copy())[mask], expected[mask], rtol=1e-4, atol=1e-5)


def test_an_unknown_scheme_and_impossible_rgb_are_refused():
    with pytest.raises(UnsupportedModelError, match="OwnNormalization"):
        intensity_map(np.ones((2, 2, 2)), ChannelNormalization("OwnNormalization", False))
    with pytest.raises(ImageError, match="0..255"):
        intensity_map(np.full((2, 2, 2), -5.0), ChannelNormalization("RGBTo01Normalization", False))
