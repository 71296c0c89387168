"""Names that would do something to a terminal are shown, not obeyed."""

from __future__ import annotations

import pytest

from TuckerSegLib.printable import excerpt, indented, one_line, printable

HARMFUL = [
    ("\x1b[2J", r"\x1b[2J"),
    ("\x9b31m", r"\x9b31m"),
    ("\x7f\x08\r", r"\x7f\x08\r"),
    ("a\u202eb\u2066c", r"a\u202eb\u2066c"),
    ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
    ("\u2028\u2029\x85", r"\u2028\u2029\x85"),
    ("half \udc80", r"half \udc80"),
    ("\U000e0041", r"\U000e0041"),
    ("a\nb\tc", r"a\nb\tc"),
]


@pytest.mark.parametrize(("text", "expected"), HARMFUL)
def test_what_a_terminal_obeys_is_an_escape(text, expected):
    assert one_line(text) == expected


def test_letters_of_all_kinds_stay():
    for text in ("liver", "Größe 3 µm × 2", "肝臓", "печень", "…", "", 'C:\\path "quoted" <b>'):
        assert one_line(text) == printable(text) == indented(text) == excerpt(text) == text


def test_lines_and_tabulators_stay_where_several_lines_are_meant():
    assert printable("a\tb\nc\x1b\n") == "a\tb\nc\\x1b\n"


def test_the_further_lines_of_a_message_stand_further_in():
    assert indented("first\nWritten: \x1bx") == "first\n  Written: \\x1bx"


def test_an_excerpt_is_short():
    assert excerpt("\x1b" + "a" * 1000, 10) == "\\x1baaaaaaaa…"
