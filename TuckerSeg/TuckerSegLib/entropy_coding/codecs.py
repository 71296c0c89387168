"""Codecs for index maps: whole numbers of 8 or 16 bits to bytes and back.

Index maps are nearly random but for how often a value occurs, and every codec comes within a few percent of that
entropy. Deflate is the rule, since it is read several times as fast; LZMA is taken where it is clearly shorter, as for
maps of few values, whose words of whole bits are too long. Canonical Huffman is the seed's.

How many numbers a stream has is said to ``decode`` by who has checked it; never more memory is taken than they need.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import ModelFileError
from ..printable import shown
from . import canonical_huffman

TYPES = ("uint8", "uint16")
COLUMN = 4096  # numbers that are coded as one column of a Huffman stream
CLEARLY_SHORTER = 0.95
_DICTIONARY = 1 << 20  # bytes; a decoder takes this much memory, whatever a stream says


@dataclass(frozen=True)
class Codec:
    """Symbols (N,) to a stream, and a stream to N symbols of a type."""

    encode: Callable[[np.ndarray], bytes]
    decode: Callable[[bytes, int, np.dtype], np.ndarray]


def encode(symbols: np.ndarray) -> tuple[str, bytes]:
    """The name of the codec, and the stream, for some symbols: deflate, or LZMA where that is clearly shorter.

    Args:
        symbols: (N,) of uint8 or uint16, at least one.
    """
    quick, short = (CODECS[name].encode(symbols) for name in ("deflate", "lzma"))
    return ("lzma", short) if len(short) < CLEARLY_SHORTER * len(quick) else ("deflate", quick)


def decode(codec: str, stream: bytes, count: int, kind: str) -> np.ndarray:
    """The symbols of a stream.

    Args:
        codec: Name in ``CODECS``.
        stream: That :func:`encode` has written.
        count: How many symbols there have to be; this much memory is taken.
        kind: ``uint8`` or ``uint16``.

    Raises:
        ModelFileError: No such codec or type, a stream that ends early or late, or one that is damaged.
    """
    if codec not in CODECS or kind not in TYPES:
        raise ModelFileError(
            f"numbers are coded by {', '.join(CODECS)} as {' or '.join(TYPES)}; found {shown(codec)}, {shown(kind)}."
        )
    return CODECS[codec].decode(stream, count, np.dtype(kind))


def _filters(kind: np.dtype) -> list[dict]:
    wide = int(kind.itemsize == 2)
    places = {"lc": 3, "lp": wide, "pb": wide}
    return [{"id": lzma.FILTER_LZMA2, "dict_size": _DICTIONARY, "nice_len": 32, "mode": lzma.MODE_NORMAL, **places}]


def _to_lzma(symbols: np.ndarray) -> bytes:
    plain = symbols.astype(symbols.dtype.newbyteorder("<")).tobytes()
    return lzma.compress(plain, lzma.FORMAT_RAW, filters=_filters(symbols.dtype))


def _from_lzma(stream: bytes, count: int, kind: np.dtype) -> np.ndarray:
    return _unpacked(lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_filters(kind)), stream, count, kind)


def _to_deflate(symbols: np.ndarray) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY)
    return packer.compress(symbols.astype(symbols.dtype.newbyteorder("<")).tobytes()) + packer.flush()


def _from_deflate(stream: bytes, count: int, kind: np.dtype) -> np.ndarray:
    return _unpacked(zlib.decompressobj(-15), stream, count, kind)


def _unpacked(unpacker, stream: bytes, count: int, kind: np.dtype) -> np.ndarray:
    """Symbols by a decompressor of the standard library, which is asked for one byte more than there may be."""
    size = count * kind.itemsize
    try:
        plain = unpacker.decompress(stream, size + 1)
        if len(plain) == size and not unpacker.eof:
            plain += unpacker.decompress(getattr(unpacker, "unconsumed_tail", b""), 1)
    except (lzma.LZMAError, zlib.error, EOFError, ValueError) as error:
        raise ModelFileError(f"a stream of coded numbers is damaged ({error}).") from error
    if len(plain) != size or not unpacker.eof or unpacker.unused_data:
        least = f"{len(plain)} bytes or more" if len(plain) > size else f"{len(plain)} bytes"
        raise ModelFileError(f"a stream of coded numbers should give {size} bytes and end there; it gives {least}.")
    return np.frombuffer(plain, kind.newbyteorder("<")).astype(kind, copy=False)


def _to_huffman(symbols: np.ndarray) -> bytes:
    code = canonical_huffman.Code.of(symbols)
    columns = np.split(symbols, range(COLUMN, len(symbols), COLUMN))
    stream, ends = canonical_huffman.encode(columns, code)
    sizes = np.diff(ends, prepend=0).astype("<u4")
    table = code.lengths.astype(np.uint8)
    return len(table).to_bytes(4, "little") + table.tobytes() + sizes.tobytes() + stream


def _from_huffman(stream: bytes, count: int, kind: np.dtype) -> np.ndarray:
    columns = -(-count // COLUMN)
    alphabet = int.from_bytes(stream[:4], "little")
    if not 0 < alphabet <= np.iinfo(kind).max + 1 or len(stream) < 4 + alphabet + 4 * columns:
        raise ModelFileError(
            f"a Huffman stream begins with 1 to {np.iinfo(kind).max + 1} code lengths and {columns} column lengths; it "
            f"has {len(stream)} bytes and states {alphabet} code lengths."
        )
    table = np.frombuffer(stream, np.uint8, alphabet, 4)
    ends = np.cumsum(np.frombuffer(stream, "<u4", columns, 4 + alphabet), dtype=np.int64)
    sizes = np.full(columns, COLUMN)
    sizes[-1:] = count - COLUMN * (columns - 1)
    code = canonical_huffman.Code(table)
    return canonical_huffman.decode(stream[4 + alphabet + 4 * columns :], ends, sizes, code).astype(kind)


CODECS = {
    "lzma": Codec(_to_lzma, _from_lzma),
    "deflate": Codec(_to_deflate, _from_deflate),
    "huffman": Codec(_to_huffman, _from_huffman),
}
