"""Emulated ctk* widget classes: what a segmentation panel uses of them."""

import sys
import types

from ctk_path_line_edit import ctkPathLineEdit  # noqa: F401  (install() offers it)
from emulation import emulate, placeholder, prop
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal


@emulate
class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    contentsCollapsed = Signal(bool)
    H = 24

    def __init__(self, *a):
        text = a[0] if a and isinstance(a[0], str) else ""
        super().__init__(*(x for x in a if isinstance(x, QtWidgets.QWidget)))
        self.text = text
        self.setContentsMargins(0, self.H, 0, 0)
        self.setSizePolicy(QtWidgets.QSizePolicy.Preferred, QtWidgets.QSizePolicy.Preferred)
        self._collapsed = False

    def _getCollapsed(self):
        return self._collapsed

    def setCollapsed(self, c):
        c = bool(c)
        if c == self._collapsed:
            return
        self._collapsed = c
        for w in self.children():
            if isinstance(w, QtWidgets.QWidget):
                if c:
                    w.setProperty("_wasHidden", w.isHidden())
                    w.setVisible(False)
                else:
                    w.setVisible(not w.property("_wasHidden"))
        self.setMaximumHeight(self.H if c else 16777215)
        self.contentsCollapsed.emit(c)
        self.updateGeometry()
        self.update()

    collapsed = Property(bool, _getCollapsed, setCollapsed)
    flat = prop(bool, "_flat", False)
    contentsLineWidth = prop(int, "_clw", 1)

    def mouseReleaseEvent(self, e):
        if e.position().y() <= self.H:
            self.setCollapsed(not self._collapsed)
        super().mouseReleaseEvent(e)

    def sizeHint(self):
        layout = self.layout()
        size = layout.totalSizeHint() if layout and not self._collapsed else QtCore.QSize(120, 0)
        return QtCore.QSize(max(size.width(), 160), self.H if self._collapsed else max(size.height(), self.H))

    def minimumSizeHint(self):
        layout = self.layout()
        size = layout.totalMinimumSize() if layout and not self._collapsed else QtCore.QSize(60, 0)
        return QtCore.QSize(size.width(), self.H if self._collapsed else max(size.height(), self.H))

    def paintEvent(self, e):
        p = QtWidgets.QStylePainter(self)
        o = QtWidgets.QStyleOptionButton()
        o.initFrom(self)
        o.rect = QtCore.QRect(0, 0, self.rect.width(), self.H)
        p.drawControl(QtWidgets.QStyle.CE_PushButtonBevel, o)
        a = QtWidgets.QStyleOption()
        a.initFrom(self)
        a.rect = QtCore.QRect(6, 7, 10, 10)
        p.drawPrimitive(
            QtWidgets.QStyle.PE_IndicatorArrowRight if self._collapsed else QtWidgets.QStyle.PE_IndicatorArrowDown, a
        )
        p.drawText(
            QtCore.QRect(22, 0, self.rect.width() - 22, self.H),
            int(QtCore.Qt.AlignVCenter | QtCore.Qt.AlignLeft),
            self.text.replace("&&", "&"),
        )


@emulate
class qMRMLCollapsibleButton(ctkCollapsibleButton):
    def setMRMLScene(self, scene):
        pass


@emulate
class ctkSliderWidget(QtWidgets.QWidget):
    valueChanged = Signal(float)
    _signals = {"valueChanged(double)": "valueChanged"}

    def __init__(self, parent=None):
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Horizontal)
        self._spin = QtWidgets.QDoubleSpinBox()
        layout.addWidget(self._slider)
        layout.addWidget(self._spin)
        self._spin.maximum = 100.0
        self._spin.decimals = 2
        self._slider.valueChanged.connect(self._fromSlider)
        self._spin.valueChanged.connect(self._fromSpin)
        self._sync()

    def _sync(self):
        s = self._spin
        self._slider.blockSignals(True)
        self._slider.setRange(0, max(1, round((s.maximum - s.minimum) / s.singleStep)))
        self._slider.value = round((s.value - s.minimum) / s.singleStep)
        self._slider.blockSignals(False)

    def _fromSlider(self, i):
        self._spin.value = self._spin.minimum + i * self._spin.singleStep

    def _fromSpin(self, v):
        self._sync()
        self.valueChanged.emit(v)

    def setValue(self, v):
        self._spin.value = float(v)

    def reset(self):
        self.setValue(0)

    def _fwd(name, kind):
        def g(self):
            return getattr(self._spin, name)

        def f(self, v):
            setattr(self._spin, name, v)
            self._sync()

        return Property(kind, g, f)

    minimum, maximum, value, singleStep = (
        _fwd("minimum", float),
        _fwd("maximum", float),
        _fwd("value", float),
        _fwd("singleStep", float),
    )
    decimals, prefix, suffix = _fwd("decimals", int), _fwd("prefix", str), _fwd("suffix", str)
    pageStep = prop(float, "_page", 10.0)
    tracking = prop(bool, "_tr", True)
    tickInterval = prop(float, "_ti", 0.0)
    spinBoxVisible = prop(bool, "_sbv", True)


@emulate
class ctkCollapsibleGroupBox(QtWidgets.QGroupBox):
    """A group box that folds when its check mark goes."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self.checkable = True
        self.toggled.connect(self._fold)

    def _fold(self, on):
        for child in self.findChildren(QtWidgets.QWidget, options=QtCore.Qt.FindDirectChildrenOnly):
            child.setVisible(on)
        self.setMaximumHeight(16777215 if on else 24)

    collapsed = Property(bool, lambda s: not s.checked, lambda s, v: setattr(s, "checked", not v))


@emulate
class ctkComboBox(QtWidgets.QComboBox):
    defaultText = prop(str, "_default", "")
    forceDefault = prop(bool, "_force", False)


@emulate
class ctkCheckableComboBox(ctkComboBox):
    checkedIndexesChanged = Signal()
    _signals = {"checkedIndexesChanged()": "checkedIndexesChanged"}


@emulate
class ctkFittedTextBrowser(QtWidgets.QTextBrowser):
    collapsed = prop(bool, "_col", False)
    disableMouseScroll = prop(bool, "_dms", False)
    showDetailsText = prop(str, "_sd", "Show details...")
    hideDetailsText = prop(str, "_hd", "Hide details.")


@emulate
class ctkMessageBox(QtWidgets.QMessageBox):
    dontShowAgainSettingsKey = prop(str, "_dsk", "")
    dontShowAgainVisible = prop(bool, "_dsv", False)


@emulate
class ctkSearchBox(QtWidgets.QLineEdit):
    showSearchIcon = prop(bool, "_ssi", True)


def install():
    """Put the module ``ctk`` where it is imported from; other names of it can be named, not built."""
    module = types.ModuleType("ctk")
    module.__getattr__ = lambda name: placeholder(module, name, "ctk")
    for name, value in list(globals().items()):
        if name.startswith("ctk") and isinstance(value, type):
            setattr(module, name, value)
    sys.modules["ctk"] = module
