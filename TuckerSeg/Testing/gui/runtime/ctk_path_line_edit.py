"""CTK's line for a path: a combo box of former paths that can be typed into, with a validator, and a button to browse.

It tells of every text that its validator accepts, with each key, and of nothing else; an empty text is never accepted.
"""

import re

from emulation import emulate, prop
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal


def accepted(name_filters):
    """Regular expression of the texts that name filters such as ``Images (*.png *.jpg)`` or ``*.png`` let through."""
    wildcards = []
    for name_filter in name_filters:
        listed = re.fullmatch(r".*\((.*)\)", name_filter)
        wildcards += listed[1].split() if listed else [name_filter]
    endings = [known[1] for known in (re.match(r"\*\.(\w+)", each) for each in wildcards) if known]
    # The last character of an ending may be missing: CTK's expression has it so.
    return "(" + "|".join(rf".*\.{ending}?$" for ending in endings) + ")" if endings else ".+"


@emulate
class ctkPathLineEdit(QtWidgets.QWidget):
    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    _signals = {"currentPathChanged(QString)": "currentPathChanged", "validInputChanged(bool)": "validInputChanged"}

    def __init__(self, parent=None):
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._valid, self._name_filters, self._key = False, (), ""
        self._box = QtWidgets.QComboBox(self)
        self._box.setEditable(True)
        self._box.setInsertPolicy(QtWidgets.QComboBox.InsertPolicy.NoInsert)
        self._edit = self._box.lineEdit()
        self._validator = QtGui.QRegularExpressionValidator(self)
        self._edit.setValidator(self._validator)
        self._browse = QtWidgets.QToolButton(self)
        self._browse.text = "..."
        layout.addWidget(self._box, 1)
        layout.addWidget(self._browse)
        self.setFocusProxy(self._edit)
        self._filter(())
        self._edit.textChanged.connect(self._on_text)

    def _filter(self, name_filters):
        self._name_filters = tuple(name_filters)
        self._validator.setRegularExpression(QtCore.QRegularExpression(accepted(self._name_filters)))

    def _on_text(self, text):
        valid = self._edit.hasAcceptableInput()
        changed, self._valid = valid != self._valid, valid
        if valid:
            self.currentPathChanged.emit(text)
        if changed:
            self.validInputChanged.emit(valid)

    def comboBox(self):
        return self._box

    def setCurrentPath(self, path):
        self._edit.text = path

    def _settings_key(self):
        return "ctkPathLineEdit/" + (self._key or self.objectName)

    def addCurrentPathToHistory(self):
        if self.currentPath:
            settings = QtCore.QSettings()
            former = [path for path in settings.value(self._settings_key()) or () if path != self.currentPath]
            settings.setValue(self._settings_key(), [self.currentPath, *former])

    def retrieveHistory(self):
        """Fill the list; where there is no path yet, the latest one is taken, and told."""
        path = self.currentPath
        was_blocked = self.blockSignals(True)
        self._box.clear()
        self._box.addItems(list(QtCore.QSettings().value(self._settings_key()) or ())[:5])
        self._edit.text = path
        self.blockSignals(was_blocked)
        if not path and self._box.count:
            self._box.setCurrentIndex(-1)
            self._box.setCurrentIndex(0)

    def _set_key(self, key):
        self._key = key
        self.retrieveHistory()

    currentPath = Property(str, lambda self: self._edit.text, setCurrentPath)
    nameFilters = Property("QStringList", lambda self: list(self._name_filters), _filter)
    settingKey = Property(str, lambda self: self._key, _set_key)
    filters = prop(int, "_filters", 0)
    label = prop(str, "_label", "")
    showBrowseButton = prop(bool, "_shows_browse", True)
    showHistoryButton = prop(bool, "_shows_history", True)
