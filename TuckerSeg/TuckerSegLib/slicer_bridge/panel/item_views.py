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
