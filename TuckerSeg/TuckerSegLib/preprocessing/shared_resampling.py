"""One image on the grid of several models: resampled once, while models normalize it each in their own way."""

from __future__ import annotations

import numpy as np
import torch

from ..resampling import ResamplingSpec
from .preprocess import Shape, resample_hounsfield


class SharedResampling:
    """Takes the place of ``resample_hounsfield``; keeps its last result.

    Whole numbers are kept in 16 bits, so that what is kept is small beside what a model works on. The image must stay
    alive for as long as this does: it is recognized by where its voxels lie.
    """

    def __init__(self):
        self._asked: tuple | None = None
        self._kept: np.ndarray | None = None

    def __call__(self, volume: np.ndarray, shape: Shape, spec: ResamplingSpec) -> torch.Tensor:
        """See ``preprocessing.resample_hounsfield``."""
        asked = (volume.ctypes.data, volume.strides, volume.shape, volume.dtype.str, tuple(shape), spec)
        if asked != self._asked:
            self._kept = None  # two at once may be too much
            data = resample_hounsfield(volume, shape, spec)
            self._asked, self._kept = asked, _compact(data.numpy())
            return data
        return torch.from_numpy(self._kept.astype(np.float32))


def _compact(values: np.ndarray) -> np.ndarray:
    """A copy that loses nothing, in 16 bits where it can be."""
    limits = np.iinfo(np.int16)
    if values.min() < limits.min or values.max() > limits.max:
        return values.copy()
    small = np.empty(values.shape, np.int16)
    for target, source in zip(small.reshape(-1, *values.shape[2:]), values.reshape(-1, *values.shape[2:])):
        target[...] = source
        if not np.array_equal(target, source):  # fractions
            return values.copy()
    return small
