"""The network, and the volumes as it reads them."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import scipy.ndimage as nd
import torch
import torch.nn.functional as F
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from tissues import CLASSES
from torch import nn

SPACING = 3.0  # mm
MEAN, STD, CLIP = -50.0, 350.0, (-1000.0, 1000.0)  # Hounsfield units
IGNORE = 255  # the label of voxels that nothing is learned from
SIZE = 96  # voxels of a patch's edge


class Norm(nn.InstanceNorm3d):
    """The same for one image at a time, without leaving channels_last_3d: a quarter of a step's time."""

    def forward(self, x):
        if len(x) != 1:
            return super().forward(x)
        return F.batch_norm(x, None, None, self.weight, self.bias, True, 0, self.eps)


FEATURES = [16, 32, 64, 128, 256]


def network() -> PlainConvUNet:
    """nnU-Net's network as ``pack.py`` describes it in ``plans.json``, with a head at every resolution."""
    return PlainConvUNet(
        input_channels=1,
        n_stages=len(FEATURES),
        features_per_stage=FEATURES,
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=[[1] * 3] + [[2] * 3] * 4,
        n_conv_per_stage=2,
        num_classes=CLASSES,
        n_conv_per_stage_decoder=2,
        conv_bias=True,
        norm_op=Norm,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=True,
    )


def features(net, x):
    """Features before each segmentation head, low to high resolution, of a batch (1, 1, z, y, x)."""
    skips = net.encoder(x)
    d = net.decoder
    f = skips[-1]
    out = []
    for s in range(len(d.stages)):
        f = d.stages[s](torch.cat((d.transpconvs[s](f), skips[-(s + 2)]), 1))
        out.append(f)
    return out


def load(path, order):
    """A volume as array (z, y, x) in RAS at 3 mm: float32, linear, for order 1; labels for 0."""
    im = nib.as_closest_canonical(nib.load(path))
    a = np.asarray(im.dataobj)
    a = a.astype(np.float32 if order else np.uint8)
    z = np.sqrt((im.affine[:3, :3] ** 2).sum(0)) / SPACING
    if order and (z < 1).any():
        a = nd.gaussian_filter(a, np.where(z < 1, 0.35 / z - 0.35, 0))
    n = np.maximum(1, np.round(np.array(a.shape) * z)).astype(int)
    g = [np.clip((np.arange(k) + 0.5) / k * s - 0.5, 0, s - 1) for k, s in zip(n, a.shape)]
    if order:
        for ax in range(3):
            lo = np.floor(g[ax]).astype(int)
            hi = np.minimum(lo + 1, a.shape[ax] - 1)
            w = (g[ax] - lo).astype(np.float32)
            w = w.reshape([-1 if i == ax else 1 for i in range(3)])
            a = a.take(lo, ax) * (1 - w) + a.take(hi, ax) * w
    else:
        a = a[np.ix_(*[np.round(k).astype(int) for k in g])]
    return np.ascontiguousarray(a.transpose(2, 1, 0))
