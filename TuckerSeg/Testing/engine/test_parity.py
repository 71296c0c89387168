"""Labels equal those of nnunetv2's own ``nnUNetPredictor``.

nnU-Net sums logits in half precision. Its rounding decides voxels whose two best logits are nearly equal, so the
comparison is made twice: with nnU-Net as it is, and with its accumulators in single precision, which shows that
rounding explains the rest.
"""

from __future__ import annotations

from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch

from TuckerSegLib import InferenceSpec, TuckerSpec, compress, compress_predictor, load_model, segment

EXACT = InferenceSpec(precision="fp32")


class Remembered(torch.nn.Module):
    """A network that computes each patch once: both sums of logits are of the same logits."""

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network, self.known = network, []

    def load_state_dict(self, *arguments, **options):
        return self.network.load_state_dict(*arguments, **options)

    def forward(self, patch: torch.Tensor) -> torch.Tensor:
        for seen, logits in self.known:
            if torch.equal(seen, patch):
                return logits.clone()
        self.known.append((patch.clone(), self.network(patch)))
        return self.known[-1][1].clone()


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"residual": True},
        {"old_plans": True},
        {"mirror_axes": (0, 1, 2)},
        {"mirror_axes": (0, 2), "residual": True},
        {"folds": ("0", "1")},
        {"labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "center": 3}, "region_order": [1, 2, 3]},
        {"labels": {"background": 0, "one": 1, "two": 2}},
        {"transpose": (2, 0, 1), "spacing": (2.0, 3.0, 2.5)},
        {"reader": "SimpleITKIO"},
        {"normalization": "ZScoreNormalization"},
        {"spacing": (7.0, 1.5, 1.5), "patch_shape": (16, 48, 48)},
    ],
    ids=lambda variant: ", ".join(variant) or "plain",
)
def test_a_small_network_gives_the_labels_of_nnunet(
    make_model_folder, oblique_ct, nnunet_predictor, nnunet_labels, assert_equal_labels, variant
):
    folder = make_model_folder(**variant)
    mirroring = "mirror_axes" in variant
    folds = tuple(int(fold) for fold in variant.get("folds", ("0",)))
    expected = nnunet_labels(nnunet_predictor(folder, folds, mirroring), [oblique_ct])
    found = segment(str(oblique_ct), load_model(folder), InferenceSpec(precision="fp32", mirroring=mirroring))
    assert_equal_labels(found.labels, expected)


def test_several_input_channels_give_the_labels_of_nnunet(
    make_model_folder, oblique_ct, nnunet_predictor, nnunet_labels, assert_equal_labels, tmp_path
):
    from TuckerSegLib import read_image

    stored = nibabel.load(oblique_ct)
    second = tmp_path / "second.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.asarray(stored.dataobj)[::-1] // 2, stored.affine), second)
    folder = make_model_folder(channels=2)
    expected = nnunet_labels(nnunet_predictor(folder), [oblique_ct, second])
    found = segment(read_image([str(oblique_ct), str(second)]), load_model(folder), EXACT)
    assert_equal_labels(found.labels, expected)


def test_a_cropped_volume_gives_the_labels_of_nnunet(
    make_model_folder, oblique_ct, nnunet_predictor, nnunet_labels, assert_equal_labels
):
    stored = nibabel.load(oblique_ct)
    values = np.asarray(stored.dataobj).copy()
    values[:20] = values[:, -15:] = values[:, :, :7] = 0
    nibabel.save(nibabel.Nifti1Image(values, stored.affine), oblique_ct)
    folder = make_model_folder()
    expected = nnunet_labels(nnunet_predictor(folder), [oblique_ct])
    assert_equal_labels(segment(str(oblique_ct), load_model(folder), EXACT).labels, expected)


def totalsegmentators_labels(predictor, nnunet_labels, path, tmp_path):
    """Labels as TotalSegmentator 2.18 makes them around nnU-Net's predictor: its resampling, canonical axes."""
    from scipy.ndimage import zoom

    stored = nibabel.load(path)
    canonical = nibabel.as_closest_canonical(nibabel.Nifti1Image(stored.get_fdata(), stored.affine))
    factors = np.array(canonical.header.get_zooms()) / 3.0
    resampled = zoom(canonical.get_fdata(), factors, order=1, mode="nearest").astype(np.int32)
    image = tmp_path / "resampled.nii.gz"
    nibabel.save(nibabel.Nifti1Image(resampled, canonical.affine @ np.diag([*(1 / factors), 1])), image)
    labels = nnunet_labels(predictor, [image]).T
    back = zoom(labels, np.array(canonical.shape) / labels.shape, order=0, mode="nearest")
    there = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.io_orientation(stored.affine)
    )
    return nibabel.orientations.apply_orientation(back, there).T


@pytest.mark.parametrize("border", [0, 12])
def test_a_model_of_totalsegmentators_gives_its_labels_with_and_without_a_border_of_zeros(
    make_model_folder, oblique_ct, nnunet_predictor, nnunet_labels, assert_equal_labels, tmp_path, border
):
    stored = nibabel.load(oblique_ct)
    values = np.asarray(stored.dataobj).copy()
    values[:border] = values[:, values.shape[1] - border :] = values[:, :, :border] = 0
    nibabel.save(nibabel.Nifti1Image(values, stored.affine), oblique_ct)
    folder = make_model_folder(name="Dataset297_TotalSegmentator_small")
    found = segment(str(oblique_ct), load_model(folder), replace(EXACT, output_grid="nearest")).labels
    expected = totalsegmentators_labels(nnunet_predictor(folder), nnunet_labels, oblique_ct, tmp_path)
    assert_equal_labels(found, expected)


def test_a_compressed_predictor_of_nnunet_gives_our_labels(
    make_model_folder, oblique_ct, nnunet_predictor, nnunet_labels, assert_equal_labels
):
    folder = make_model_folder(folds=("0", "1"))
    predictor = nnunet_predictor(folder, (0, 1))
    original = nnunet_labels(predictor, [oblique_ct])
    spec = TuckerSpec(rank_ratio=0.5)
    compress_predictor(predictor, spec)
    expected = nnunet_labels(predictor, [oblique_ct])
    assert (expected != original).any()
    assert_equal_labels(segment(str(oblique_ct), compress(load_model(folder), spec), EXACT).labels, expected)


def test_the_demonstration_network_gives_the_labels_of_nnunet_on_a_real_ct(
    coarse_demo, shared_data, nnunet_predictor, nnunet_labels, assert_equal_labels, tmp_path
):
    whole = nibabel.load(shared_data / "data" / "example_ct.nii.gz")
    ct = tmp_path / "middle.nii.gz"  # a few patches of it are enough
    nibabel.save(whole.slicer[:, 25:75, 30:90], ct)
    found = segment(str(ct), load_model(coarse_demo), EXACT).labels
    predictor = nnunet_predictor(coarse_demo)
    predictor.network = Remembered(predictor.network)
    assert_equal_labels(found, nnunet_labels(predictor, [ct], torch.float16), share=0.999)
    assert_equal_labels(found, nnunet_labels(predictor, [ct]))
