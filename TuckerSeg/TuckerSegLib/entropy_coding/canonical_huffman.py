"""Canonical Huffman codes, written and read in columns: streams that are decoded side by side.

A canonical code is known by the length of each symbol's code word alone. Columns are what sHAM (Marinò et al. 2021)
codes a matrix in; here they also make decoding quick, since numpy takes a step in all of them at once.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from ..errors import ModelFileError

LONGEST = 24  # bits of a code word; longer ones would be of symbols that are a ten-millionth of all
WINDOW = 32  # bits that are looked at at once


@dataclass(frozen=True, eq=False)
class Code:
    """A canonical code.

    Attributes:
        lengths: Bits of each symbol's code word, (K,); 0: the symbol does not occur.
    """

    lengths: np.ndarray

    def __post_init__(self) -> None:
        lengths = self.lengths[self.lengths > 0].astype(np.int64)
        if len(lengths) == 0 or lengths.max() > LONGEST:
            longest = self.lengths.max(initial=0)
            raise ModelFileError(f"a Huffman code has words of 1 to {LONGEST} bits; found {longest}.")
        taken = np.sum(2.0**-lengths)
        if taken > 1:
            raise ModelFileError("a Huffman code has more words than its lengths leave room for.")

    @classmethod
    def of(cls, symbols: np.ndarray) -> Code:
        """The code that makes some symbols shortest.

        Args:
            symbols: Whole numbers from 0, at least one.
        """
        counts = np.bincount(symbols.ravel())
        while (lengths := _lengths(counts)).max() > LONGEST:
            counts = np.where(counts > 0, counts // 4 + 1, 0)  # flatter, so that rare symbols get shorter words
        return cls(lengths)

    def words(self) -> np.ndarray:
        """The code word of each symbol, as a whole number, (K,)."""
        order, words = self.sorted_symbols(), np.zeros(len(self.lengths), np.int64)
        word, last = 0, 0
        for symbol in order.tolist():
            length = int(self.lengths[symbol])
            word <<= length - last
            words[symbol], word, last = word, word + 1, length
        return words

    def sorted_symbols(self) -> np.ndarray:
        """Symbols that occur, by length and number: the order of their code words."""
        return np.lexsort((np.arange(len(self.lengths)), self.lengths))[np.count_nonzero(self.lengths == 0) :]

    def bits_of(self, symbols: np.ndarray) -> int:
        """Bits that some symbols take."""
        return int(self.lengths[symbols.ravel()].sum(dtype=np.int64))


def encode(columns: list[np.ndarray] | np.ndarray, code: Code) -> tuple[bytes, np.ndarray]:
    """Code columns one after the other.

    Args:
        columns: Arrays of symbols of the code.
        code: That has a word for each of them.

    Returns:
        The bits, filled up to whole bytes; and the bit behind each column's last one.
    """
    symbols = np.concatenate([np.asarray(column).ravel() for column in columns]).astype(np.int64)
    lengths, words = code.lengths[symbols].astype(np.int64), code.words()[symbols]
    ends = np.cumsum(lengths)
    bits = np.zeros(int(ends[-1]) if len(ends) else 0, np.uint8)
    for bit in range(int(lengths.max(initial=0))):
        there = lengths > bit
        bits[(ends - lengths)[there] + bit] = (words[there] >> (lengths[there] - 1 - bit)) & 1
    sizes = np.cumsum([np.size(column) for column in columns])
    return np.packbits(bits).tobytes(), np.concatenate(([0], ends))[sizes]


def decode(stream: bytes, ends: np.ndarray, sizes: np.ndarray, code: Code) -> np.ndarray:
    """The symbols of columns, one column after the other.

    Args:
        stream: Bits.
        ends: The bit behind each column's last one.
        sizes: Number of symbols of each column.
        code: With which they were written.

    Returns:
        (sum of sizes,) of int64.

    Raises:
        ModelFileError: Bits that are no code word, or a column that ends early or late.
    """
    ends, sizes = ends.astype(np.int64), sizes.astype(np.int64)
    last_bit = 8 * len(stream)
    if len(ends) and (np.diff(ends, prepend=0).min() < 0 or not last_bit - 8 < ends[-1] <= last_bit):
        raise ModelFileError(f"columns of a Huffman stream end in ascending order, the last at bit {last_bit}.")
    order = code.sorted_symbols()
    lengths = code.lengths[order].astype(np.int64)
    starts = code.words()[order] << (WINDOW - lengths)  # left-justified, so that they ascend
    limit = int(starts[-1] + (1 << (WINDOW - int(lengths[-1]))))
    padded = np.frombuffer(stream + bytes(8), np.uint8)
    places, offsets = np.concatenate(([0], ends[:-1])), np.cumsum(sizes) - sizes
    symbols, alive = np.empty(int(sizes.sum()), np.int64), np.arange(len(sizes))
    for step in range(int(sizes.max(initial=0))):
        alive = alive[sizes[alive] > step]
        at = places[alive]
        if (at >= 8 * len(stream)).any():
            raise ModelFileError("a column of a Huffman stream ends before its last symbol.")
        window = np.zeros(len(alive), np.int64)
        for byte in range(5):
            window = (window << 8) | padded[(at >> 3) + byte]
        window = (window >> (8 - (at & 7))) & ((1 << WINDOW) - 1)
        if (window >= limit).any():
            raise ModelFileError("a Huffman stream has bits that are no word of its code.")
        word = np.searchsorted(starts, window, side="right") - 1
        symbols[offsets[alive] + step] = order[word]
        places[alive] += lengths[word]
    if not np.array_equal(places, ends):
        raise ModelFileError("a column of a Huffman stream ends early or late.")
    return symbols


def _lengths(counts: np.ndarray) -> np.ndarray:
    """Lengths of the code words of symbols that occur so often (Huffman 1952)."""
    lengths = np.zeros(len(counts), np.int64)
    queue = [(int(count), symbol, [symbol]) for symbol, count in enumerate(counts) if count]
    if len(queue) == 1:
        lengths[queue[0][1]] = 1
        return lengths
    heapq.heapify(queue)
    while len(queue) > 1:
        (less, tie, first), (more, _, second) = heapq.heappop(queue), heapq.heappop(queue)
        lengths[first] += 1
        lengths[second] += 1
        heapq.heappush(queue, (less + more, tie, first + second))
    return lengths
