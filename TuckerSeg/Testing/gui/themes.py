"""The application's light and dark theme, as Slicer has them."""

from __future__ import annotations

from PySide6 import QtGui, QtWidgets

DARK = {
    "Window": "#323232",
    "WindowText": "#ffffff",
    "Base": "#1e1e1e",
    "AlternateBase": "#323232",
    "Text": "#ffffff",
    "Button": "#323232",
    "ButtonText": "#ffffff",
    "Light": "#828284",
    "Midlight": "#5a5a5b",
    "Dark": "#232323",
    "Mid": "#2b2b2b",
    "Shadow": "#141414",
    "Highlight": "#3ca4ff",
    "HighlightedText": "#ffffff",
}
DISABLED_IN_THE_DARK = {"WindowText": "#6d6d6d", "Text": "#6d6d6d", "ButtonText": "#b4b4b4", "Highlight": "#505050"}


def use_theme(name: str) -> None:
    """Give the application the palette of a theme, ``light`` or ``dark``."""
    palette = QtWidgets.QApplication.style().standardPalette()
    if name == "dark":
        for group, colors in ((QtGui.QPalette.All, DARK), (QtGui.QPalette.Disabled, DISABLED_IN_THE_DARK)):
            for role, color in colors.items():
                palette.setColor(group, getattr(QtGui.QPalette, role), QtGui.QColor(color))
    QtWidgets.QApplication.setPalette(palette)
    QtWidgets.QApplication.processEvents()


def enlarge_text(factor: float) -> None:
    """Make the application's font larger, as a user's system does it."""
    font = QtWidgets.QApplication.font()
    font.setPointSizeF(font.pointSizeF() * factor)
    QtWidgets.QApplication.setFont(font)
    QtWidgets.QApplication.processEvents()
