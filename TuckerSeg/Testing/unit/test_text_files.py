"""JSON of anybody, read within bounds."""

from __future__ import annotations

import pytest

from TuckerSegLib.text_files import MOST_JSON_DEPTH, parse_json, read_json


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[" * 100_000, "nested"),
        (b"[" * 100_000 + b"]" * 100_000, "nested"),
        (b'{"a":' * 100_000, "nested"),
        (b"[" * 61 + b"]" * 61, "nested deeper than 60 levels"),
        (b"\xff\xfe", "no UTF-8"),
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"9" * 5000, "digits"),
    ],
)
def test_what_is_no_document_is_told_in_words(content, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        parse_json(content)
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_json(tmp_path / "file.json")


def test_a_document_as_deep_as_may_be_comes_as_it_is():
    deepest = b"[" * MOST_JSON_DEPTH + b"]" * MOST_JSON_DEPTH
    assert parse_json(deepest) == parse_json(deepest.decode())
    assert parse_json('\ufeff{"a": [1, "µ"]}'.encode()) == {"a": [1, "µ"]}


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path):
    (tmp_path / "file.json").write_bytes(b'"' + b"a" * 1000 + b'"')
    assert len(read_json(tmp_path / "file.json", 1002)) == 1000
    with pytest.raises(ValueError, match="more than"):
        read_json(tmp_path / "file.json", 1001)
