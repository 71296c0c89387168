"""The flat ``qt`` module of Slicer, dialogs that give PythonQt's results, and the loader of .ui files."""

import types

import pythonqt
from PySide6 import QtCore, QtUiTools, QtWidgets

QObject = QtCore.QObject


class _Qt(types.ModuleType):
    """Flat namespace of all Qt classes, as Slicer's `qt` package offers it."""

    def __getattr__(self, name):
        for ns in pythonqt.NAMESPACES:
            if hasattr(ns, name):
                v = getattr(ns, name)
                setattr(self, name, v)
                return v
        raise AttributeError(f"module 'qt' has no attribute '{name}'")


qt = _Qt("qt")


def _first(f):
    return staticmethod(lambda *a, **k: f(*a, **k)[0])


class QFileDialog(QtWidgets.QFileDialog):  # PythonQt returns the string alone, not (string, filter)
    getOpenFileName = _first(QtWidgets.QFileDialog.getOpenFileName)
    getOpenFileNames = _first(QtWidgets.QFileDialog.getOpenFileNames)
    getSaveFileName = _first(QtWidgets.QFileDialog.getSaveFileName)


class QInputDialog(QtWidgets.QInputDialog):
    getText = _first(QtWidgets.QInputDialog.getText)
    getItem = _first(QtWidgets.QInputDialog.getItem)
    getInt = _first(QtWidgets.QInputDialog.getInt)
    getDouble = _first(QtWidgets.QInputDialog.getDouble)


qt.QFileDialog, qt.QInputDialog = QFileDialog, QInputDialog


_qt_settings_value = QtCore.QSettings.value


def settings_value(self, key, default=None):
    value = _qt_settings_value(self, key, default)
    return tuple(value) if isinstance(value, list) else value


class QUiLoader(QtUiTools.QUiLoader):
    """Builds emulated ctk*/qMRML* classes by name and makes the .ui file's <connections> in Python."""

    factories = {}

    def createWidget(self, cls, parent=None, name=""):
        try:
            return self._create(cls, parent, name)
        except BaseException as e:
            self._failed.append(f"{cls} {name}: {type(e).__name__}: {e}")
            return QtWidgets.QWidget(parent)

    def _create(self, cls, parent, name):
        if cls in self.factories:
            w = self.factories[cls](parent)
        elif hasattr(QtWidgets, cls):
            w = getattr(QtWidgets, cls)(parent) if cls != "Line" else QtWidgets.QFrame(parent)
        elif cls == "Line":
            w = QtWidgets.QFrame(parent)
        else:
            raise NotImplementedError(f".ui file needs widget class {cls}, which this runtime does not emulate")
        QObject.setObjectName(w, name)
        return w

    def load(self, device, parent=None):
        import xml.etree.ElementTree as ET

        root = ET.fromstring(bytes(device.readAll()))
        links = [{c.tag: (c.text or "") for c in e} for e in root.iter("connection")]
        for e in root.findall("connections"):
            root.remove(e)
        buf = QtCore.QBuffer()
        buf.setData(ET.tostring(root))
        buf.open(QtCore.QIODevice.ReadOnly)
        pythonqt.loading_ui = True
        try:
            self._failed = []
            w = super().load(buf, parent)
        finally:
            pythonqt.loading_ui = False
        w._made_by_loader = True
        if self._failed:
            raise RuntimeError(f".ui file could not be loaded: {self._failed}")
        byname = {QObject.objectName(o): o for o in [w] + list(QtWidgets.QWidget.findChildren(w, QObject))}
        for c in links:
            s, r = byname[c["sender"]], byname[c["receiver"]]
            if not pythonqt.connect(s, c["signal"], pythonqt.plain_get(r, pythonqt.split_signature(c["slot"])[0])):
                raise RuntimeError(f"connection failed: {c}")
        return w


qt.QUiLoader = QUiLoader
qt.Signal, qt.Slot, qt.Property = QtCore.Signal, QtCore.Slot, QtCore.Property
