"""Labels equal those of nnunetv2's own ``nnUNetPredictor``.

nnU-Net sums logits in half precision. Its rounding decides voxels whose two best logits are nearly equal, so the
comparison is made twice: with nnU-Net as it is, and with its accumulators in single precision (by giving it float32
where it asks for ``torch.half``), which shows that rounding explains the rest.
"""

from __future__ import annotations

from unittest import mock

import nibabel
import numpy as np
import pytest
import torch

from TuckerSegLib import InferenceSpec, TuckerSpec, compress, compress_predictor, load_model, segment

EXACT = InferenceSpec(precision="fp32")


def nnunet_predictor(folder, folds=(0,), mirroring=False):
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        tile_step_size=0.5,
        use_mirroring=mirroring,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    predictor.initialize_from_trained_model_folder(str(folder), folds, "checkpoint_final.pth")
    return predictor


def nnunet_labels(predictor, images, tmp_path, accumulators=torch.float32):
    output = tmp_path / "nnunet"
    with mock.patch.object(torch, "half", accumulators):
        predictor.predict_from_files_sequential([[str(image) for image in images]], [str(output)], overwrite=True)
    return np.asarray(nibabel.load(f"{output}.nii.gz").dataobj).T


@pytest.fixture
def volume(tmp_path):
    """A smooth random volume of 1.5 mm with an oblique, flipped and permuted grid."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.randn(1, 1, 12, 10, 14, generator=generator) * 400
    values = torch.nn.functional.interpolate(coarse, (83, 71, 90), mode="trilinear")[0, 0].numpy().astype(np.int16)
    angle = 0.2
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array([[0, 1.5, 0], [-1.25, 0, 0], [0, 0, 2.0]])
    affine[:3, 3] = (10, -20, 30)
    path = tmp_path / "volume.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


def assert_equal_labels(found, expected, share=0.9999):
    assert found.shape == expected.shape
    assert len(np.unique(expected)) > 2, "the comparison would say nothing"
    equal = (found == expected).mean()
    assert equal >= share, f"{equal:.6f} of the voxels are equal"


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
def test_a_small_network_gives_the_labels_of_nnunet(make_model_folder, volume, tmp_path, variant):
    folder = make_model_folder(**variant)
    mirroring = "mirror_axes" in variant
    folds = tuple(int(fold) for fold in variant.get("folds", ("0",)))
    expected = nnunet_labels(nnunet_predictor(folder, folds, mirroring), [volume], tmp_path)
    found = segment(str(volume), load_model(folder), InferenceSpec(precision="fp32", mirroring=mirroring))
    assert_equal_labels(found.labels, expected)


def test_several_input_channels_give_the_labels_of_nnunet(make_model_folder, volume, tmp_path):
    from TuckerSegLib import read_image

    stored = nibabel.load(volume)
    second = tmp_path / "second.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.asarray(stored.dataobj)[::-1] // 2, stored.affine), second)
    folder = make_model_folder(channels=2)
    expected = nnunet_labels(nnunet_predictor(folder), [volume, second], tmp_path)
    found = segment(read_image([str(volume), str(second)]), load_model(folder), EXACT)
    assert_equal_labels(found.labels, expected)


def test_a_cropped_volume_gives_the_labels_of_nnunet(make_model_folder, volume, tmp_path):
    stored = nibabel.load(volume)
    values = np.asarray(stored.dataobj).copy()
    values[:20] = values[:, -15:] = values[:, :, :7] = 0
    nibabel.save(nibabel.Nifti1Image(values, stored.affine), volume)
    folder = make_model_folder()
    expected = nnunet_labels(nnunet_predictor(folder), [volume], tmp_path)
    assert_equal_labels(segment(str(volume), load_model(folder), EXACT).labels, expected)


def test_a_compressed_predictor_of_nnunet_gives_our_labels(make_model_folder, volume, tmp_path):
    folder = make_model_folder(folds=("0", "1"))
    predictor = nnunet_predictor(folder, (0, 1))
    original = nnunet_labels(predictor, [volume], tmp_path)
    spec = TuckerSpec(rank_ratio=0.5)
    compress_predictor(predictor, spec)
    expected = nnunet_labels(predictor, [volume], tmp_path)
    assert (expected != original).any()
    assert_equal_labels(segment(str(volume), compress(load_model(folder), spec), EXACT).labels, expected)


def test_the_demonstration_network_gives_the_labels_of_nnunet_on_a_real_ct(demo_folder, shared_data, tmp_path):
    ct = shared_data / "data" / "example_ct.nii.gz"
    results = demo_folder / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    found = segment(str(ct), load_model("demo"), EXACT).labels
    predictor = nnunet_predictor(results)
    assert_equal_labels(found, nnunet_labels(predictor, [ct], tmp_path, torch.float16), share=0.999)
    assert_equal_labels(found, nnunet_labels(predictor, [ct], tmp_path))
