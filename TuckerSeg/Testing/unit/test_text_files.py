"""JSON of anybody, read within bounds, and tables that a spreadsheet does not compute."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

import pytest

from TuckerSegLib.text_files import MOST_JSON_DEPTH, as_csv, csv_text, parse_json, read_json


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


@pytest.mark.parametrize(
    "text",
    [
        "=cmd|' /C calc'!A0",
        "+SUM(1)",
        "-2+3",
        "-1",
        "@SUM(1)",
        "\t=1",
        "\r=1",
        "=a\r=1",
        "\n=1",
        " =1",
        "'=1",
        "\xa0=1",
        "\uff1d1",
    ],
)
def test_text_that_a_spreadsheet_would_compute_is_text(text):
    (row,) = csv.reader(io.StringIO(csv_text([[text, "a"]]), newline=""))
    assert row == [f"'{text}", "a"]
    assert row[0][0] not in "=+-@\t\r"


def test_an_end_of_line_in_a_cell_begins_no_row():
    rows = [["a\r=1", "b\n=1", "c\r\n=1"], ["d"]]
    assert list(csv.reader(io.StringIO(csv_text(rows), newline=""))) == rows
    assert csv_text(rows).startswith('"a\r=1"')


def test_other_text_and_our_own_numbers_stay_as_they_are():
    texts, numbers = ["liver", "", "a=b", "C-1", "3 µm", "'quoted'"], [-0.5, -3, -1.23456789e-9, 12345678.125]
    row = [*texts, *numbers, True, None, float("nan")]
    assert csv_text([row]) == "liver,,a=b,C-1,3 µm,'quoted',-0.5,-3,-1.23457e-09,1.23457e+07,True,,nan\n"
    assert csv_text([[]]) == "\n"
    assert csv_text([[-12345678.125, -3]], ";", digits=None) == "-12345678.125;-3\n"


@dataclass
class Measured:
    name: str
    value: float


def test_records_come_with_their_fields_and_without_formulas():
    assert as_csv([Measured("-1", -1.0)], Measured) == "name,value\n'-1,-1\n"
