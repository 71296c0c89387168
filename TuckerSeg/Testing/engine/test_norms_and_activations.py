"""Norms and activations that nnU-Net builds besides its usual ones: backends compute what torch's network does."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from TuckerSegLib import InferenceSpec, load_model, segment
from TuckerSegLib.errors import ModelFolderError
from TuckerSegLib.hardware import PrepareSpec, choose, devices, openvino_runtime
from TuckerSegLib.nnunet.network_classes import OPERATIONS

PATCH = (16, 16, 16)
IN_PLACE = {"inplace": True}
CLASSES = 3
KNOWN = ("LeakyReLU", "ReLU")  # to our own converter; a network with any other is traced
TRACED = sorted({home_and_name[1] for home_and_name in OPERATIONS["nonlin"].values()} - {*KNOWN})
NORMS = [
    (nn.BatchNorm3d, {"eps": 1e-3, "affine": True}),
    (nn.BatchNorm3d, {"affine": False}),
    (nn.BatchNorm3d, {"track_running_stats": False}),
    (nn.SyncBatchNorm, {}),
    (nn.InstanceNorm3d, {"affine": True, "track_running_stats": True}),
    (None, None),
]


def build(norm, norm_options, activation, activation_options) -> nn.Module:
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    torch.manual_seed(5)
    network = PlainConvUNet(
        input_channels=1,
        n_stages=2,
        features_per_stage=(8, 16),
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=(1, 2),
        num_classes=CLASSES,
        n_conv_per_stage=(1, 1),
        n_conv_per_stage_decoder=(1,),
        conv_bias=True,
        norm_op=norm,
        norm_op_kwargs=norm_options,
        dropout_op=nn.Dropout3d,
        dropout_op_kwargs={"p": 0.1},
        nonlin=activation,
        nonlin_kwargs=activation_options,
    )
    return with_statistics(network).eval().requires_grad_(False)


def with_statistics(network: nn.Module) -> nn.Module:
    """The network with statistics and factors as a training leaves them."""
    for module in network.modules():
        if getattr(module, "running_mean", None) is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, (nn.BatchNorm3d, nn.InstanceNorm3d, nn.SyncBatchNorm)) and module.affine:
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return network


def assert_openvino_agrees(network: nn.Module) -> None:
    spec = PrepareSpec(PATCH, input_channels=1, threads=1, log=lambda _: None)
    predictor = openvino_runtime.prepare(lambda: network, choose("openvino:cpu", devices())[0], spec)
    patch = torch.randn(1, 1, *PATCH)
    found, expected = (logits.split(CLASSES, dim=1) for logits in (predictor(patch), network(patch)))
    errors = [float((ours - torchs).norm() / torchs.norm()) for ours, torchs in zip(found, expected, strict=True)]
    assert max(errors) < 1e-5, errors


@pytest.mark.parametrize(("norm", "options"), NORMS)
def test_a_norm_is_computed_as_torch_does(norm, options):
    assert_openvino_agrees(build(norm, options, nn.LeakyReLU, IN_PLACE))


class SideBySide(nn.Module):
    """Networks of the same patch, logits one after another; what is dear to convert is converted once for all."""

    def __init__(self, networks: list[nn.Module]):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, patch: torch.Tensor) -> torch.Tensor:
        return torch.cat([network(patch) for network in self.networks], dim=1)


def with_activation(name: str) -> nn.Module:
    """A network with an activation, every other one in place, where torch has that option."""
    network = build(nn.InstanceNorm3d, {"affine": True}, getattr(nn, name), {})
    in_place = [module for module in network.modules() if hasattr(module, "inplace") and "Dropout" not in str(module)]
    for module in in_place[::2]:
        module.inplace = True
    assert bool(in_place) == (name not in ("GELU", "PReLU"))
    return network


@pytest.mark.parametrize("activation", KNOWN)
def test_an_activation_is_computed_as_torch_does(activation):
    assert_openvino_agrees(with_activation(activation))


def test_all_other_activations_are_computed_as_torch_does():
    assert_openvino_agrees(SideBySide([with_activation(name) for name in TRACED]))


@pytest.fixture
def trained_with_batch_norm(make_model_folder):
    """Folders of a network with batch normalization: as its plans say, and by the trainer whose plans tell nothing."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    said, hidden = make_model_folder("Dataset001_Said"), make_model_folder("Dataset002_Hidden")
    plans = json.loads((said / "plans.json").read_text())
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    architecture["arch_kwargs"]["norm_op"] = "torch.nn.modules.batchnorm.BatchNorm3d"
    (said / "plans.json").write_text(json.dumps(plans))
    names = [architecture[key] for key in ("network_class_name", "arch_kwargs", "_kw_requires_import")]
    network = with_statistics(get_network_from_plans(*names, 1, 20, deep_supervision=True))
    for folder, trainer in ((said, "nnUNetTrainer"), (hidden, "nnUNetTrainerBN")):
        file = folder / "fold_0" / "checkpoint_final.pth"
        checkpoint = torch.load(file, weights_only=False)
        torch.save(checkpoint | {"network_weights": network.state_dict(), "trainer_name": trainer}, file)
    return said, hidden


@pytest.mark.parametrize("device", ["openvino:cpu", "torch:cpu"])
def test_batch_normalization_gives_nnunets_labels_whether_plans_or_the_trainer_ask_for_it(
    trained_with_batch_norm, oblique_ct, nnunet_predictor, nnunet_labels, assert_equal_labels, device
):
    said, hidden = trained_with_batch_norm
    expected = nnunet_labels(nnunet_predictor(said), [oblique_ct])
    for folder in (said, hidden):
        inference = InferenceSpec(precision="fp32", device=device)
        assert_equal_labels(segment(str(oblique_ct), load_model(folder), inference).labels, expected)


def test_a_trainer_of_somebody_is_named_where_its_weights_do_not_fit(trained_with_batch_norm):
    _, folder = trained_with_batch_norm
    file = folder / "fold_0" / "checkpoint_final.pth"
    torch.save(torch.load(file, weights_only=False) | {"trainer_name": "MyTrainer"}, file)
    with pytest.raises(ModelFolderError, match="is not part of it.* It was trained by 'MyTrainer'"):
        load_model(folder)
