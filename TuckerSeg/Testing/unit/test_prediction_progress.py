"""A prediction can be followed and cancelled to its last plane."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from TuckerSegLib.errors import Cancelled
from TuckerSegLib.image import Geometry
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.preprocessing.preprocess import PreparedVolume
from TuckerSegLib.records.job import InferenceSpec
from TuckerSegLib.resampling import ResamplingSpec
from TuckerSegLib.segmentation.predictor import Network, predict

SHAPE = (24, 8, 8)  # five patches above each other
MODEL = SimpleNamespace(
    plans=SimpleNamespace(patch_shape=(8, 8, 8), region_values=None, logit_channels=2, mirror_axes=())
)
NETWORK = Network(lambda patches: torch.cat([patches, -patches], dim=1), None, lambda error: False)


@pytest.fixture
def volume():
    data = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0))
    whole = (slice(None),) * 3
    return PreparedVolume(data, Geometry(SHAPE, np.eye(4)), None, (0, 1, 2), whole, ResamplingSpec(1))


def note_progress(event, told):
    if event["event"] == "progress":
        told.append((event["stage"], event["done"], event["total"]))


def test_patches_and_planes_are_counted_to_their_ends(volume):
    told = []
    predict(volume, MODEL, NETWORK, InferenceSpec(), Monitor(on_event=lambda event: note_progress(event, told)))
    patches = [event for event in told if event[0] == "network"]
    planes = [event for event in told if event[0] == "finish"]
    assert patches == [("network", done, 5) for done in range(1, 6)]
    assert planes == [("finish", done, 24) for done in range(1, 25)]
    assert told.index(planes[0]) < told.index(patches[-1]), "planes wait for no patch that does not touch them"


@pytest.mark.parametrize("last", [("network", 2, 5), ("network", 5, 5), ("finish", 20, 24)])
def test_it_ends_with_the_next_patch_or_plane_once_it_is_cancelled(volume, last):
    told = []
    with pytest.raises(Cancelled):
        monitor = Monitor(lambda event: note_progress(event, told), lambda: bool(told) and told[-1] == last)
        predict(volume, MODEL, NETWORK, InferenceSpec(), monitor)
    assert told[-1] == last
