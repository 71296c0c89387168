"""The record of a check: its order, its text, and its way through JSON."""

from __future__ import annotations

import json

from TuckerSegLib.records.quality_report import INFO, WARNING, BodyPart, Finding, QualityReport, as_text
from TuckerSegLib.records.serialization import from_json, to_json

THICK = Finding("thick-slices", INFO, "The slices are thick.", {"thickness_mm": 6.0})
FLIPPED = Finding("orientation", WARNING, "Left is right.", {"left-right": -1.0})
REPORT = QualityReport((FLIPPED, THICK), (BodyPart("chest", 0.5, 7, -20.0, 180.5),), ("liver",))


def test_a_report_goes_through_json_and_back():
    assert from_json(QualityReport, json.loads(json.dumps(to_json(REPORT)))) == REPORT


def test_warnings_come_first_and_the_report_s_own_word_on_a_matter_stays():
    other = Finding("orientation", INFO, "All is well.")
    joined = QualityReport().joined_by([THICK, FLIPPED]).joined_by([other])
    assert joined.findings == (FLIPPED, THICK)
    assert joined.warnings == ("Left is right.",)


def test_the_text_has_a_line_for_every_finding_and_the_body_parts():
    lines = as_text(REPORT).splitlines()
    assert lines == [
        "Warning      Left is right. [orientation]",
        "Info         The slices are thick. [thick-slices]",
        "Body parts   chest (50% of its structures whole)",
    ]
    assert as_text(QualityReport()) == "Result       nothing to warn of"
