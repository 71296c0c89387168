"""2D, low-resolution and other configurations of nnU-Net give the labels of nnunetv2's own ``nnUNetPredictor``."""

from __future__ import annotations

import pytest

from TuckerSegLib import InferenceSpec, TuckerSpec, compress, load_model, segment
from TuckerSegLib.export import exporter
from TuckerSegLib.export.settings import ExportSettings

EXACT = InferenceSpec(precision="fp32")
FLAT = {"configuration_name": "2d", "patch_shape": (1, 32, 48), "spacing": (9.0, 2.0, 2.5)}


@pytest.mark.parametrize(
    "variant",
    [
        FLAT,
        FLAT | {"residual": True, "transpose": (2, 0, 1), "mirror_axes": (0, 1)},
        FLAT | {"old_plans": True, "transpose": (1, 0, 2), "reader": "SimpleITKIO", "mirror_axes": (1,)},
        FLAT | {"folds": ("0", "1"), "spacing": (1.0, 0.9, 7.0), "normalization": "ZScoreNormalization"},
        {"configuration_name": "3d_lowres", "spacing": (5.0, 4.0, 4.5), "patch_shape": (16, 24, 24)},
    ],
    ids=lambda variant: ", ".join(f"{key} {value}" for key, value in variant.items()),
)
def test_a_configuration_gives_the_labels_of_nnunet(
    make_model_folder, oblique_ct, nnunet_predictor, nnunet_labels, assert_equal_labels, variant
):
    folder = make_model_folder(**variant)
    mirroring = "mirror_axes" in variant
    folds = tuple(int(fold) for fold in variant.get("folds", ("0",)))
    expected = nnunet_labels(nnunet_predictor(folder, folds, mirroring), [oblique_ct])
    found = segment(str(oblique_ct), load_model(folder), InferenceSpec(precision="fp32", mirroring=mirroring))
    assert_equal_labels(found.labels, expected)


def test_a_2d_network_is_compressed_and_exported_as_any_other(
    make_model_folder, oblique_ct, nnunet_predictor, nnunet_labels, assert_equal_labels, tmp_path
):
    original = load_model(make_model_folder(**FLAT | {"mirror_axes": (0, 1)}))
    smaller = compress(original, TuckerSpec(rank_ratio=0.5))
    assert smaller.cost.macs < original.cost.macs
    found = segment(str(oblique_ct), smaller, EXACT).labels
    place = exporter("nnunet").export(smaller, tmp_path / "exported", ExportSettings()).place
    assert load_model(place).plans.mirror_axes == (1, 2)
    assert_equal_labels(segment(str(oblique_ct), load_model(place), EXACT).labels, found)
    assert_equal_labels(found, nnunet_labels(nnunet_predictor(place), [oblique_ct]))
