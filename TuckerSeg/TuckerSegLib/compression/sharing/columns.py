"""Matrices of shared weights as Huffman-coded columns, dense (HAC) and sparse (sHAC), that multiply as they are read.

After sHAM (Marinò et al. 2021, arXiv:2108.01775), whose two forms they are. Files keep index maps instead: a network
decodes them once and runs as fast as any, where these decode with every product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...entropy_coding.canonical_huffman import Code, decode, encode

WORD_BITS = 32  # of a center, and of where a column ends


@dataclass(frozen=True, eq=False)
class DenseColumns:
    """HAC: the indices of each column one after the other.

    Attributes:
        shape: (N, M).
        centers: (K,), what indices stand for.
        code: Of the indices.
        stream: Their bits.
        ends: The bit behind each column's last one, (M,).
    """

    shape: tuple[int, int]
    centers: np.ndarray
    code: Code
    stream: bytes
    ends: np.ndarray

    @classmethod
    def of(cls, indices: np.ndarray, centers: np.ndarray) -> DenseColumns:
        """Code a matrix of indices.

        Args:
            indices: (N, M), each below K.
            centers: (K,).
        """
        code = Code.of(indices)
        return cls(indices.shape, centers, code, *encode(list(indices.T), code))

    @property
    def bits(self) -> int:
        """Bits of indices, columns' ends, centers and code."""
        words = WORD_BITS * (len(self.ends) + len(self.centers))
        return 8 * len(self.stream) + words + 8 * len(self.code.lengths)

    def decoded(self) -> np.ndarray:
        """The matrix of weights, (N, M)."""
        sizes = np.full(self.shape[1], self.shape[0])
        return self.centers[decode(self.stream, self.ends, sizes, self.code)].reshape(self.shape[::-1]).T

    def product(self, vector: np.ndarray) -> np.ndarray:
        """vector (N,) times the matrix, (M,); the matrix is decoded for it and not kept."""
        return vector @ self.decoded()


@dataclass(frozen=True, eq=False)
class SparseColumns:
    """sHAC: the indices of what is not zero, and in which rows it stands, column after column.

    Attributes:
        shape: (N, M).
        centers: (K,); those of zero are left out of the stream.
        code: Of the indices.
        stream: Their bits.
        ends: The bit behind each column's last one, (M,).
        rows: Row of every value, in the stream's order.
        starts: Where a column's values begin among them, (M + 1,).
    """

    shape: tuple[int, int]
    centers: np.ndarray
    code: Code
    stream: bytes
    ends: np.ndarray
    rows: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, indices: np.ndarray, centers: np.ndarray) -> SparseColumns:
        """Code a matrix of indices, as :meth:`DenseColumns.of`; at least one weight is not zero."""
        filled = centers[indices] != 0
        columns = [column[mask] for column, mask in zip(indices.T, filled.T)]
        code = Code.of(np.concatenate(columns))
        stream, ends = encode(columns, code)
        rows = np.nonzero(filled.T)[1].astype(np.uint16 if len(indices) <= 65536 else np.uint32)
        return cls(
            indices.shape, centers, code, stream, ends, rows, np.concatenate(([0], np.cumsum(filled.sum(axis=0))))
        )

    @property
    def bits(self) -> int:
        """Bits of indices, rows, columns' ends and starts, centers and code."""
        words = WORD_BITS * (len(self.ends) + len(self.starts) + len(self.centers))
        return 8 * (len(self.stream) + self.rows.nbytes + len(self.code.lengths)) + words

    def _values(self) -> np.ndarray:
        return self.centers[decode(self.stream, self.ends, np.diff(self.starts), self.code)]

    def decoded(self) -> np.ndarray:
        """The matrix of weights, (N, M)."""
        matrix = np.zeros(self.shape, self.centers.dtype)
        matrix[self.rows, np.repeat(np.arange(self.shape[1]), np.diff(self.starts))] = self._values()
        return matrix

    def product(self, vector: np.ndarray) -> np.ndarray:
        """vector (N,) times the matrix, (M,), with as many products as there are values."""
        columns = np.repeat(np.arange(self.shape[1]), np.diff(self.starts))
        return np.bincount(columns, self._values() * vector[self.rows], minlength=self.shape[1])
