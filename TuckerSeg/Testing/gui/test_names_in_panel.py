"""Names that come from files are text in the panel: no HTML, no control characters, no formulas."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from xml.etree import ElementTree

import pytest

PANEL_FILE = Path(__file__).resolve().parents[2] / "Resources" / "UI" / "TuckerSeg.ui"

EVIL = "liver <img src='http://127.0.0.1:9/x'>\x1b[2J\u202e"
VISIBLE = r"liver <img src='http://127.0.0.1:9/x'>\x1b[2J\u202e"


def test_labels_take_nothing_for_html_but_the_one_that_is():
    labels = ElementTree.parse(PANEL_FILE).iterfind(".//widget[@class='QLabel']")
    formats = {label.get("name"): label.findtext("property[@name='textFormat']/enum") for label in labels}
    assert len(formats) > 40
    assert {name for name, kind in formats.items() if kind != "Qt::PlainText"} == {"resultsLabel"}


def test_words_are_shown_and_not_obeyed(ready):
    ready.context.status.say(EVIL)
    assert ready.ui.statusLabel.text == VISIBLE
    ready.context.status.log(f"{EVIL}\nsecond")
    assert ready.ui.logText.plainText.endswith(f"{VISIBLE}\n  second")


def test_tool_tips_and_dialogs_show_tags():
    from TuckerSegLib.slicer_bridge.words import plain

    assert plain(EVIL) == r"<p>liver &lt;img src=&#x27;http://127.0.0.1:9/x&#x27;&gt;\x1b[2J\u202e</p>"
    assert plain("two\nlines") == "two\nlines"
    assert plain("a < b\nc") == "<p>a &lt; b<br>c</p>"


@pytest.fixture
def evil_result(ready, until):
    """The panel after a run of a model whose structures and name would do harm."""
    import slicer

    from TuckerSegLib.records.statistics import Structure
    from TuckerSegLib.slicer_bridge.scene.statistics_nodes import attach_statistics, statistics_of

    ready.ui.applyButton.click()
    until(lambda: not ready.running.running)
    node = ready.context.parameters.outputSegmentation
    structures = (Structure(1, "=cmd|' /C calc'!A0", 1.5), Structure(2, "-2+3", 0.5), Structure(3, EVIL, 0.25))
    attach_statistics(node, dataclasses.replace(statistics_of(node), structures=structures, model=EVIL))
    ready.context.refresh()
    slicer.app.processEvents()
    return ready


def test_results_show_names_and_the_saved_table_holds_no_formula(evil_result, tmp_path):
    shown = evil_result.ui.resultsLabel.text
    assert "&lt;img" in shown and "<img" not in shown and "\x1b" not in shown
    evil_result.results.save(tmp_path / "results.csv")
    with (tmp_path / "results.csv").open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert "'=cmd|' /C calc'!A0" in cells and "'-2+3" in cells and {"1.5", "0.5", "0.25"} <= set(cells)
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
