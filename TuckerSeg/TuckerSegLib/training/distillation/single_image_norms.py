"""Instance normalization of single images in the memory layout of a training.

PyTorch's own copies every map out of ``channels_last_3d`` and the next convolution copies it back, forward and
backward: a quarter of a step. Of a batch of one, batch normalization by the batch's own moments is the same, and stays
in the layout.
"""

from __future__ import annotations

from torch import Tensor, nn

from ...compression.layers import replace_modules


class SingleImageNorm(nn.InstanceNorm3d):
    """Instance normalization with the parameters of another one; of a batch of one without copies.

    Args:
        norm: Without running statistics.
    """

    def __init__(self, norm: nn.InstanceNorm3d):
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, maps: Tensor) -> Tensor:
        """Normalize maps (B, C, Z, Y, X) per image and channel."""
        if len(maps) != 1 or maps.dim() != 5:
            return super().forward(maps)
        return nn.functional.batch_norm(maps, None, None, self.weight, self.bias, training=True, eps=self.eps)


def put_single_image_norms(network: nn.Module) -> nn.Module:
    """Put :class:`SingleImageNorm` in place of every instance normalization of a network without running statistics.

    Names of parameters, and the parameters themselves, stay.

    Args:
        network: Changed in place, and returned.
    """
    norms = [each for each in network.modules() if type(each) is nn.InstanceNorm3d and not each.track_running_stats]
    replace_modules(network, {norm: SingleImageNorm(norm) for norm in norms})
    return network
