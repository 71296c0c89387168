"""Ways of lists and tables that several sections share."""

from __future__ import annotations

import qt

FLAGS_ROLE = qt.Qt.UserRole - 1  # where Qt's item model keeps an entry's flags
ROW_HEIGHT = 22


def disable_entry(box: qt.QComboBox, index: int) -> None:
    """Grey an entry, so that it can be read but not chosen."""
    box.setItemData(index, 0, FLAGS_ROLE)


def make_rows_compact(view: qt.QTableView) -> None:
    """Low rows without numbers beside them."""
    view.verticalHeader().setVisible(False)
    view.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)


def show_check_boxes(view: qt.QListWidget) -> None:
    """Draw the frames of a list's check boxes so that they are seen on its background, also in a dark theme.

    Qt's style derives them from the color of windows, of which a list draws its own frame besides; in a dark theme they
    are black on black. Entries are wrapped rather than cut.
    """
    view.setWordWrap(True)
    view.setHorizontalScrollBarPolicy(qt.Qt.ScrollBarAlwaysOff)
    palette = qt.QPalette(view.parentWidget().palette)
    palette.setColor(qt.QPalette.Window, palette.color(qt.QPalette.Text))
    view.setPalette(palette)
