"""Merges the label maps of several networks on one grid into one; later networks overwrite earlier ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ..image import label_type


class MergedLabels:
    """A label map to which the networks of a task add their structures.

    Args:
        largest_value: The largest label value that any network adds.

    Attributes:
        labels: (Z, Y, X) of uint8 or uint16; None before the first network.
    """

    def __init__(self, largest_value: int):
        self._dtype = label_type(largest_value)
        self.labels: np.ndarray | None = None

    def add(self, labels: np.ndarray, values: Mapping[int, int] | None) -> int:
        """Write a network's structures over those of the networks before it.

        Args:
            labels: The network's labels, (Z, Y, X); the caller must not use them afterwards.
            values: The network's label values to those of the merged map; values that are missing count as background.
                None: they are the same.

        Returns:
            The number of structures that the network found.
        """
        table = _table(labels.dtype, self._dtype, values)
        if self.labels is None and values is None and labels.dtype == self._dtype:
            self.labels = labels
            return int(np.count_nonzero(_present(labels)[1:]))
        if self.labels is None:
            self.labels = np.zeros(labels.shape, self._dtype)
        present = np.zeros(len(table), dtype=bool)
        for target, plane in zip(self.labels, labels, strict=True):  # a plane at a time: no second copy of the volume
            present |= _present(plane)
            mapped = table[plane]
            np.copyto(target, mapped, where=mapped != 0)
        return int(np.count_nonzero(present & (table != 0)))

    def keep(self, values: Iterable[int]) -> None:
        """Make all labels but these values background, in place."""
        table = _table(self._dtype, self._dtype, {value: value for value in values})
        for plane in self.labels:
            plane[...] = table[plane]


def _table(source: np.dtype, target: np.dtype, values: Mapping[int, int] | None) -> np.ndarray:
    """Look-up table of type ``target`` for all values of type ``source``; values that are missing become 0."""
    table = np.zeros(np.iinfo(source).max + 1, target)
    if values is None:
        return np.arange(len(table)).astype(target)
    table[list(values)] = list(values.values())
    return table


def _present(labels: np.ndarray) -> np.ndarray:
    """Whether each value of the labels' type occurs, by value."""
    size = np.iinfo(labels.dtype).max + 1
    if labels.ndim < 3:
        return np.bincount(labels.ravel(), minlength=size) > 0
    return np.any([_present(plane) for plane in labels], axis=0)
