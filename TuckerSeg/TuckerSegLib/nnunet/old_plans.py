"""Configurations of plans that nnunetv2 wrote before 2.2, in the form of today's: they describe the network by fields.

Builds the same section ``architecture`` as nnunetv2's ``ConfigurationManager`` makes of such plans, which is a test; to
import that one takes most of a second, and TotalSegmentator's models have such plans.
"""

from __future__ import annotations

from typing import Any

from ..errors import UnsupportedModelError
from ..printable import shown
from .fields import required, sequence, whole_number
from .network_arguments import MOST_CHANNELS, MOST_STAGES

_PACKAGE = "dynamic_network_architectures.architectures"
# Class of a network by its name in old plans, and what its argument for the encoder's depth is called.
OLD_NETWORKS = {
    "PlainConvUNet": (f"{_PACKAGE}.unet.PlainConvUNet", "n_conv_per_stage"),
    "ResidualEncoderUNet": (f"{_PACKAGE}.residual_unet.ResidualEncoderUNet", "n_blocks_per_stage"),
}
ENCODER_DEPTHS, WIDTHS = "n_conv_per_stage_encoder", ("UNet_base_num_features", "unet_max_num_features")
PER_STAGE = ("n_conv_per_stage_decoder", "num_pool_per_axis", "pool_op_kernel_sizes", "conv_kernel_sizes")
_OLD_FIELDS = ("UNet_class_name", ENCODER_DEPTHS, *WIDTHS, *PER_STAGE)
_IMPORTED = {
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "dropout_op": None,
    "nonlin": "torch.nn.LeakyReLU",
}


def with_architecture(configuration: dict[str, Any]) -> dict[str, Any]:
    """A configuration of old plans with a section ``architecture`` in place of the fields that it is made of.

    Args:
        configuration: Of a 3D network; it is not changed.

    Raises:
        ModelFolderError: A field is missing, of a wrong type or out of its range.
        UnsupportedModelError: A network that is not known.
    """
    place = "plans.json: "
    name = required(configuration, "UNet_class_name", "plans.json")
    if not isinstance(name, str) or name not in OLD_NETWORKS:
        raise UnsupportedModelError(f"plans.json: UNet_class_name is {shown(name)}; known: {', '.join(OLD_NETWORKS)}.")
    depths = sequence(
        required(configuration, ENCODER_DEPTHS, "plans.json"), place + ENCODER_DEPTHS, range(2, MOST_STAGES + 1)
    )
    first, widest = (
        whole_number(required(configuration, key, "plans.json"), place + key, 1, MOST_CHANNELS) for key in WIDTHS
    )
    decoder_depths, _, strides, kernels = (
        sequence(required(configuration, key, "plans.json"), place + key, range(1, MOST_STAGES + 1))
        for key in PER_STAGE
    )
    class_name, depth_argument = OLD_NETWORKS[name]
    arguments = {
        "n_stages": len(depths),
        "features_per_stage": [min(first * 2**stage, widest) for stage in range(len(depths))],
        "kernel_sizes": kernels,
        "strides": strides,
        depth_argument: depths,
        "n_conv_per_stage_decoder": decoder_depths,
        "conv_bias": True,
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op_kwargs": None,
        "nonlin_kwargs": {"inplace": True},
        **_IMPORTED,
    }
    section = {
        "network_class_name": class_name,
        "arch_kwargs": arguments,
        "_kw_requires_import": list(_IMPORTED),
    }
    kept = {key: value for key, value in configuration.items() if key not in _OLD_FIELDS}
    return {**kept, "architecture": section}
