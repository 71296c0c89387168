"""The network of Body Part Regression: the convolutions of VGG-16 for one channel, and a mean over the slice.

Its parameters have the names that they have in that program's files.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CHANNELS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # VGG-16, a pooling after each
FEATURES = 512


class BodyPartRegression(nn.Module):
    """Scores of single slices.

    Attributes:
        model: Convolutions 3x3 and poolings, called by their number.
        conv6: Convolution 1x1.
        fc7: From the means of its channels to a score.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for stage in CHANNELS:
            for channels in stage:
                layers += [nn.Conv2d(before, channels, 3, padding=1, bias=before != 1), nn.ReLU(inplace=True)]
                before = channels
            layers.append(nn.MaxPool2d(2))
        self.conv6 = nn.Conv2d(FEATURES, FEATURES, 1)
        self.fc7 = nn.Linear(FEATURES, 1)
        self.model = nn.Sequential(*layers)

    def forward(self, slices: Tensor) -> Tensor:
        """Score slices.

        Args:
            slices: (B, 1, 128, 128) from -1 to 1.

        Returns:
            (B,) on the scale that the network has learned.
        """
        features = torch.relu(self.conv6(self.model(slices)))
        return self.fc7(features.mean(dim=(2, 3)))[:, 0]
