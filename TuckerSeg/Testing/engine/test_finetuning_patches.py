"""Batches of patches: where they lie, how they are augmented, and that each can be made again."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from TuckerSegLib.nnunet.reading import quiet_import
from TuckerSegLib.training.finetuning.augmentation import Augmentation
from TuckerSegLib.training.finetuning.patches import PatchSampler, batches

LIBRARY = Path(__file__).resolve().parents[2]
PATCH = (16, 16, 16)


def test_one_patch_of_two_is_centered_on_foreground(shapes_set):
    cases = shapes_set.cases
    far = np.zeros((60, 60, 60), np.int16)
    far[50, 50, 50] = 2  # random patches of 16 hardly ever show it
    case = replace(
        cases[0], image=np.zeros((1, *far.shape), np.float32), labels=far, voxels={2: np.array([[50, 50, 50]])}
    )
    sampler = PatchSampler([case], PATCH, 2, seed=0)
    shown = [(sampler.batch(number)[1] == 2).flatten(1).any(dim=1).tolist() for number in range(20)]
    assert all(second for _, second in shown)
    assert sum(first for first, _ in shown) < 5


def test_patches_come_from_their_place_and_pad_with_background(shapes_set, shapes_model):
    case = shapes_set.cases[0]
    images, labels = PatchSampler([case], (32, 16, 16), 4, seed=1).batch(0)
    assert images.shape == (4, 1, 32, 16, 16) and labels.shape == (4, 1, 32, 16, 16)
    assert labels.dtype == torch.int16 and set(labels.unique().tolist()) <= {0, 1, 2}
    assert not images[:2, :, :4].any() and not images[:2, :, -4:].any()  # 24 planes in the middle of 32
    assert (images[:2, :, 4:-4] != 0).float().mean() > 0.99  # a few voxels have the mean intensity, which becomes 0
    bright = images > (350 - 20) / 300
    assert torch.equal(bright, labels == 2)


def test_a_batch_depends_on_its_number_and_seed_alone(shapes_set, shapes_model):
    sampler = PatchSampler(shapes_set.cases, PATCH, 2, 5, Augmentation(shapes_model.plans))
    expected = [sampler.batch(1, number) for number in range(6)]
    torch.rand(3), np.random.rand(3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    for found in (list(batches(lambda n: sampler.batch(1, n), 6, ahead)) for ahead in (False, True)):
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
    assert torch.equal(torch.get_rng_state(), before[0]) and (np.random.get_state()[1] == before[1]).all()
    assert not torch.equal(expected[0][0], expected[1][0])
    assert not torch.equal(expected[0][0], replace(sampler, seed=6).batch(1, 0)[0])


@pytest.mark.parametrize("patch_shape", [(16, 16, 16), (8, 32, 24)])
def test_augmented_patches_keep_their_shape_and_their_labels(shapes_set, shapes_model, patch_shape):
    plans = replace(shapes_model.plans, patch_shape=patch_shape)
    sampler = PatchSampler(shapes_set.cases, patch_shape, 2, 0, Augmentation(plans))
    changed = 0
    for number in range(12):
        images, labels = sampler.batch(number)
        assert images.shape == labels.shape == (2, 1, *patch_shape)
        assert images.isfinite().all() and set(labels.unique().tolist()) <= {0, 1, 2}
        changed += not torch.equal(images > (350 - 20) / 300, labels == 2)
    assert changed  # an augmentation that does nothing would leave all as they were


@pytest.mark.parametrize("patch_shape", [(128, 128, 128), (112, 112, 128), (24, 96, 80)])
@pytest.mark.parametrize("use_mask", [False, True])
def test_the_augmentation_is_that_of_nnunets_trainer_without_mirroring(shapes_model, patch_shape, use_mask):
    with quiet_import():
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer as Trainer
    configuration = SimpleNamespace(patch_size=list(patch_shape))
    trainer = SimpleNamespace(configuration_manager=configuration, print_to_log_file=lambda *args: None)
    rotation, flat, cut_shape, _ = Trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size(trainer)
    expected = Trainer.get_training_transforms(patch_shape, rotation, None, None, flat, [use_mask]).transforms
    normalization = tuple(replace(each, use_mask=use_mask) for each in shapes_model.plans.normalization)
    found = Augmentation(replace(shapes_model.plans, patch_shape=patch_shape, normalization=normalization))
    assert found.cut_shape == tuple(cut_shape)
    assert list(map(described, found._transform.transforms)) == list(map(described, expected[:-1]))
    assert "RemoveLabel" in described(expected[-1])  # done by the sampler


def described(transform) -> str:
    """All settings of a transform but how a blur is computed, for which one timing decides in nnU-Net."""
    settings = re.sub(r"BGContrast object at 0x\w+", "BGContrast", repr(transform))
    return settings.replace("benchmark = True", "benchmark = False")


def test_training_imports_no_trainer():
    code = (
        "import sys\n"
        "import TuckerSegLib.training.finetuning.loop as training\n"
        "from TuckerSegLib.training.finetuning.augmentation import _cut_shape, _transform\n"
        "_cut_shape((16, 16, 16), False), _transform((16, 16, 16), False, [0])\n"
        "training.segmentation_loss(training.FineTuningSettings(), None)\n"
        "print([name for name in sys.modules if 'rainer' in name or name in ('timm', 'torchvision')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=LIBRARY, capture_output=True, encoding="utf-8")
    assert done.stdout.strip() == "[]", done.stderr
