"""Index maps go to fewer bytes and come back; streams that were damaged or made to harm are refused by name."""

from __future__ import annotations

import lzma
import zlib

import numpy as np
import pytest

from TuckerSegLib.entropy_coding import canonical_huffman as huffman
from TuckerSegLib.entropy_coding import codecs
from TuckerSegLib.errors import ModelFileError

RANDOM = np.random.default_rng(0)
MAPS = {
    "bell": RANDOM.normal(128, 12, 20000).clip(0, 255).astype(np.uint8),
    "wide": RANDOM.normal(2000, 300, 9000).clip(0, 4095).astype(np.uint16),
    "one value": np.zeros(5000, np.uint8),
    "single": np.array([7], np.uint8),
    "all alike": RANDOM.integers(0, 256, 8192).astype(np.uint8),
}


def entropy_bytes(symbols):
    shares = np.bincount(symbols)[np.unique(symbols)] / len(symbols)
    return -(shares * np.log2(shares)).sum() * len(symbols) / 8


@pytest.mark.parametrize("codec", codecs.CODECS)
@pytest.mark.parametrize("name", MAPS)
def test_a_map_comes_back_as_it_was(codec, name):
    symbols = MAPS[name]
    stream = codecs.CODECS[codec].encode(symbols)
    read = codecs.decode(codec, stream, len(symbols), symbols.dtype.name)
    assert read.dtype == symbols.dtype
    np.testing.assert_array_equal(read, symbols)


def test_streams_are_near_the_entropy():
    symbols = MAPS["bell"]
    name, stream = codecs.encode(symbols)
    assert name == "deflate" and entropy_bytes(symbols) < len(stream) < 1.05 * entropy_bytes(symbols)
    few = (RANDOM.random(20000) < 0.01).astype(np.uint8)  # a word of a whole bit is twelve times the entropy
    streams = [codecs.CODECS[name].encode(few) for name in ("deflate", "lzma", "huffman")]
    name, stream = codecs.encode(few)
    assert len(stream) <= min(map(len, streams)) / codecs.CLEARLY_SHORTER and len(stream) < 2 * entropy_bytes(few)


def test_code_words_are_those_of_a_hand():
    """Counts 5, 2, 1, 1: words 0, 10, 110, 111."""
    code = huffman.Code.of(np.repeat([0, 1, 2, 3], [5, 2, 1, 1]))
    np.testing.assert_array_equal(code.lengths, [1, 2, 3, 3])
    np.testing.assert_array_equal(code.words(), [0b0, 0b10, 0b110, 0b111])
    stream, ends = huffman.encode([np.array([0, 1]), np.array([3, 2])], code)
    assert stream == bytes([0b01011111, 0b00000000]) and ends.tolist() == [3, 9]
    np.testing.assert_array_equal(huffman.decode(stream, ends, np.array([2, 2]), code), [0, 1, 3, 2])


def test_rare_symbols_do_not_make_words_too_long():
    counts = [1, 1]
    while len(counts) < 30:
        counts.append(sum(counts[-2:]))  # Fibonacci's numbers: the longest words there are
    code = huffman.Code.of(np.repeat(np.arange(30), counts))
    assert code.lengths.max() <= huffman.LONGEST


@pytest.mark.parametrize("codec", codecs.CODECS)
@pytest.mark.parametrize("count", [19999, 20001, 1, 10**9])
def test_a_stream_that_ends_early_or_late_is_refused(codec, count):
    stream = codecs.CODECS[codec].encode(MAPS["bell"])
    with pytest.raises(ModelFileError):
        codecs.decode(codec, stream, count, "uint8")


@pytest.mark.parametrize("codec", codecs.CODECS)
def test_damage_is_refused_or_changes_symbols_alone(codec):
    symbols = MAPS["bell"][:300]
    stream = codecs.CODECS[codec].encode(symbols)
    for place in range(0, len(stream), max(1, len(stream) // 60)):
        for damaged in (stream[:place], stream[:place] + bytes([stream[place] ^ 0x55]) + stream[place + 1 :]):
            try:
                read = codecs.decode(codec, damaged, len(symbols), "uint8")
            except ModelFileError:
                continue
            assert read.shape == symbols.shape and read.dtype == np.uint8
            assert damaged != stream[:place]
    with pytest.raises(ModelFileError):
        codecs.decode(codec, stream + b"more than there should be", len(symbols), "uint8")


def test_a_bomb_takes_no_more_memory_than_was_allowed():
    filters = codecs._filters(np.dtype("uint8"))
    packer = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=filters)
    zeros = bytes(1 << 20)
    bomb = b"".join(packer.compress(zeros) for _ in range(8)) + packer.flush()
    assert len(bomb) < 4000
    with pytest.raises(ModelFileError, match="should give 1000 bytes"):
        codecs.decode("lzma", bomb, 1000, "uint8")
    deflated = zlib.compressobj(9, zlib.DEFLATED, -15)
    with pytest.raises(ModelFileError, match="should give 1000 bytes"):
        codecs.decode("deflate", deflated.compress(zeros) + deflated.flush(), 1000, "uint8")


def test_codes_that_cannot_be_are_refused():
    for lengths in ([1, 1, 1], [0, 0], [25, 1]):
        with pytest.raises(ModelFileError, match="Huffman code"):
            huffman.Code(np.array(lengths))
    incomplete = huffman.Code(np.array([2, 2]))
    with pytest.raises(ModelFileError, match="no word"):
        huffman.decode(bytes([0xFF]), np.array([8]), np.array([4]), incomplete)
    with pytest.raises(ModelFileError, match="coded by"):
        codecs.decode("gzip", b"", 1, "uint8")
    with pytest.raises(ModelFileError, match="coded by"):
        codecs.decode("lzma", b"", 1, "float32")
