"""The panel can be read: in the light theme and the dark one, in 300 pixels, and whatever its labels have to say."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

LONG_PATH = "/data/department/" + "network_of_a_very_long_name-" * 5 + "/Dataset297_TotalSegmentator_total_3mm_1559subj"
LONG_WINDOWS_PATH = r"C:\Users\somebody\Documents" + r"\Folder With Spaces\networks" * 4 + "\\" + "x" * 90
LOWEST_CONTRAST_OF_TEXT, LOWEST_CONTRAST_OF_CONTROLS = 4.5, 3.0  # WCAG 2.1, success criteria 1.4.3 and 1.4.11


def contrast(one, other):
    def luminance(color):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in color)]
        return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear))

    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def parts(color):
    return color.red(), color.green(), color.blue()


@pytest.fixture(params=["light", "dark"])
def theme(request, slicer_app):
    from themes import use_theme

    use_theme(request.param)
    yield request.param
    use_theme("light")


@pytest.fixture
def narrow(module, make_ct):
    """The panel in 300 pixels with all that it can show, as Slicer's own narrowest place for it."""
    ui, panel = module.panel.ui, module.panel
    panel.context.change(inputVolume=make_ct(), model="demo", structuresChoice="selected")
    for name, widget in vars(ui).items():
        if name.endswith("CollapsibleButton"):
            widget.collapsed = False
        elif name.endswith(("Frame", "CheckBox")):
            widget.visible = True
    return module


def resize(module, width):
    import slicer

    slicer.app.processEvents()
    page = module.container
    assert page.minimumSizeHint.width() <= width
    page.resize(width, page.layout().heightForWidth(width))
    slicer.app.processEvents()
    assert page.width == width


def cut(widget):
    """Why a widget's words are not all seen; empty where they are."""
    from PySide6 import QtWidgets

    if not widget.isVisible():
        return ""
    room, metrics = widget.contentsRect(), widget.fontMetrics()
    if isinstance(widget, QtWidgets.QLabel):
        if not widget.wordWrap:
            return "" if widget.sizeHint.width() <= widget.width else f"{widget.sizeHint.width()} > {widget.width}"
        needed = QtWidgets.QLabel.heightForWidth(widget, widget.width)
        broad = QtWidgets.QLabel.minimumSizeHint(widget).width()
        return "" if needed <= widget.height and broad <= widget.width else f"needs {broad} × {needed}"
    beside = 24 if isinstance(widget, (QtWidgets.QCheckBox, QtWidgets.QComboBox)) else 4
    texts = [widget.currentText] if isinstance(widget, QtWidgets.QComboBox) else [widget.text]
    widest = max(map(metrics.horizontalAdvance, texts))
    return "" if widest + beside <= room.width() else f"{texts}: {widest} + {beside} > {room.width()}"


def all_cut(module, *left_out):
    from PySide6 import QtWidgets

    kinds = (QtWidgets.QLabel, QtWidgets.QPushButton, QtWidgets.QToolButton, QtWidgets.QCheckBox, QtWidgets.QComboBox)
    named = [(name, each) for name, each in vars(module.panel.ui).items() if isinstance(each, kinds)]
    assert len(named) > 80
    return {name: why for name, each in named if name not in left_out and (why := cut(each))}


@pytest.mark.parametrize("words", ["", LONG_PATH, LONG_WINDOWS_PATH, "1.2.840.113619." * 12])
def test_in_300_pixels_nothing_is_cut_that_has_to_be_read(narrow, until, words):
    from TuckerSegLib.slicer_bridge.panel.labels import labels_of, show_words

    ui = narrow.panel.ui
    until(lambda: ui.deviceComboBox.count > 1 and "117 structures" in ui.modelNoteLabel.text, 60)
    if words:
        wrapped = [label for label in labels_of(ui) if label.wordWrap and label is not ui.resultsLabel]
        assert len(wrapped) > 10
        for label in wrapped:
            label.visible = True
            show_words(label, f"{words} cannot be read", "bad")
    resize(narrow, 300)
    assert all_cut(narrow, "deviceComboBox") == {}  # whose title is said again beneath it
    if not words:
        title = ui.deviceComboBox.currentText.removeprefix("Automatic: ")
        assert ui.deviceReasonLabel.text.startswith(title)


def test_words_of_a_chosen_task_that_the_selector_cuts_are_said_again(narrow):
    narrow.panel.context.change(model="total_fast")
    assert narrow.panel.ui.modelNoteLabel.text.startswith("Total, fast: 117 structures at 3 mm.")


def test_colors_of_words_can_be_read_on_any_background():
    from TuckerSegLib.slicer_bridge.panel.colors import HUES, readable_color

    grays = [(level, level, level) for level in range(0, 256, 5)]
    for background in [*grays, (50, 50, 50), (240, 240, 240), (255, 255, 220), (0, 0, 96)]:
        for hue in HUES:
            color = readable_color(hue, background)
            assert contrast(color, background) >= LOWEST_CONTRAST_OF_TEXT, (hue, background)


def test_colored_words_can_be_read_in_both_themes_also_when_it_changes(theme, module, slicer_app):
    from themes import use_theme

    panel, ui = module.panel, module.panel.ui
    for shown in (theme, "light" if theme == "dark" else "dark"):
        use_theme(shown)
        panel.context.status.say("The disk is full.", "bad")
        panel.context.change(inputVolume=None)
        panel.context.refresh()
        window = parts(module.container.palette.color(module.container.backgroundRole()))
        for label in (ui.statusLabel, ui.problemLabel):
            (color,) = re.findall(r"color: #(\w{6})", label.styleSheet)
            assert contrast(bytes.fromhex(color), window) >= LOWEST_CONTRAST_OF_TEXT
        assert max(window) < 100 if shown == "dark" else min(window) > 150


def test_a_pressed_preset_is_seen(theme, module, slicer_app):
    ui = module.panel.ui
    module.panel.context.change(agreement=0.97)
    resize(module, 400)
    pressed, other = (_background(button) for button in (ui.balancedPresetButton, ui.carefulPresetButton))
    assert contrast(pressed, other) >= LOWEST_CONTRAST_OF_CONTROLS
    assert contrast(*_two_main_colors(ui.balancedPresetButton)) >= LOWEST_CONTRAST_OF_TEXT


def test_presets_follow_the_theme_when_it_changes_while_the_panel_is_open(theme, module, slicer_app):
    from themes import use_theme

    ui = module.panel.ui
    module.panel.context.change(agreement=0.97)
    resize(module, 400)
    other = "light" if theme == "dark" else "dark"
    use_theme(other)
    module.panel.context.refresh()
    slicer_app.processEvents()
    for button in (ui.carefulPresetButton, ui.balancedPresetButton):
        background, words = _two_main_colors(button)
        assert contrast(background, words) >= LOWEST_CONTRAST_OF_TEXT
    assert (max(_background(ui.carefulPresetButton)) < 128) == (other == "dark")
    assert (max(_background(ui.balancedPresetButton)) < 128) == (other == "light")


def _colors(button):
    image = button.grab().toImage()
    counts = {}
    for x in range(2, image.width() - 2):
        for y in range(2, image.height() - 2):
            color = parts(image.pixelColor(x, y))
            counts[color] = counts.get(color, 0) + 1
    return sorted(counts, key=counts.get, reverse=True)


def _background(button):
    return _colors(button)[0]


def _two_main_colors(button):
    """Of the background, and of the words: what differs most from it."""
    background, *others = _colors(button)
    return background, max(others, key=lambda color: contrast(color, background))


def test_an_empty_check_box_of_a_list_is_seen(module, theme):
    import qt
    import slicer

    from TuckerSegLib.slicer_bridge.panel.colors import contrast

    ui = module.panel.ui
    ui.compareCollapsibleButton.collapsed = False
    module.panel.comparing._add_policy("auto", "auto", "")
    module.panel.context.refresh()
    view = ui.comparePoliciesList
    view.setMinimumSize(200, 100)
    slicer.app.processEvents()
    rect = view.visualItemRect(view.item(1))
    image = view.viewport().grab().toImage()
    colors = {
        parts(image.pixelColor(x, y))
        for x in range(rect.left(), rect.left() + rect.height())
        for y in range(rect.top() + 1, rect.bottom())
    }
    assert max(contrast(color, parts(view.palette.color(qt.QPalette.Base))) for color in colors) >= 2
