"""Resamples an image once for several models that share a grid and differ in how they normalize it."""

from __future__ import annotations

import numpy as np
import torch

from ..resampling import ResamplingSpec
from .preprocess import Shape, resample_hounsfield


class SharedResampling:
    """``resample_hounsfield`` with a memory of its last result; pass it to :func:`preprocess`.

    Whole numbers are remembered in 16 bits, so that they need little memory beside what a model works on. The image
    must stay alive for as long as this object does, because it is recognized by the address of its voxels.
    """

    def __init__(self):
        self._request: tuple | None = None
        self._result: np.ndarray | None = None

    def __call__(self, volume: np.ndarray, shape: Shape, spec: ResamplingSpec) -> torch.Tensor:
        """As :func:`resample_hounsfield`, from (C, Z, Y, X) in HU to float32 (C, *shape)."""
        request = (volume.ctypes.data, volume.strides, volume.shape, volume.dtype.str, tuple(shape), spec)
        if request != self._request:
            self._result = None  # frees the memory before the next result needs it
            data = resample_hounsfield(volume, shape, spec)
            self._request, self._result = request, _compact(data.numpy())
            return data
        return torch.from_numpy(self._result.astype(np.float32))


def _compact(values: np.ndarray) -> np.ndarray:
    """An exact copy, as 16-bit integers where the values allow it."""
    limits = np.iinfo(np.int16)
    if values.min() < limits.min or values.max() > limits.max:
        return values.copy()
    small = np.empty(values.shape, np.int16)
    for target, source in zip(small.reshape(-1, *values.shape[2:]), values.reshape(-1, *values.shape[2:])):
        target[...] = source
        if not np.array_equal(target, source):  # fractions
            return values.copy()
    return small
