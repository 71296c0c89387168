"""PythonQt-style Python API on top of PySide6, for testing Slicer scripted modules outside Slicer.

Semantics follow what PythonQt does for wrapped QObjects:
  read   obj.prop        -> value of the Qt property (so obj.text is a str and obj.text() fails)
  write  obj.prop = v    -> QMetaProperty.write; unknown names raise AttributeError on C++ classes
  obj.name               -> objectName;  dynamic properties and named children are attributes, too
  obj.connect("clicked(bool)", f) / obj.disconnect(...) -> bool, message on stderr if no such signal
  callables get at most as many arguments as they take
"""

import enum
import inspect
import math
import re
import sys
import traceback
import types

from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets

QObject = QtCore.QObject
_NS = (QtCore, QtGui, QtWidgets, QtUiTools, QtNetwork)
_get = QObject.__getattribute__
errors = []  # exceptions raised inside slots: a test must assert that this stays empty
_index = {}


def _set(obj, name, value):
    for c in type(obj).__mro__:
        d = c.__dict__.get(name)
        if d is not None:
            if hasattr(type(d), "__set__"):
                d.__set__(obj, value)
                return
            break
    _get(obj, "__dict__")[name] = value


def _property(cls, name):
    key = (cls, name)
    if key not in _index:
        meta = cls.staticMetaObject
        i = meta.indexOfProperty(name)
        _index[key] = meta.property(i) if i >= 0 else None
    return _index[key]


def _python_attr(obj, name):
    """True if a Python-level definition (instance dict or Python class) shadows the C++ side."""
    if name in _get(obj, "__dict__"):
        return True
    for c in type(obj).__mro__:
        if c.__module__.startswith(("PySide6", "Shiboken", "builtins")):
            continue
        if name in c.__dict__:
            return True
    return False


_reading = set()


def _read(prop, obj):
    key = (id(obj), prop.name())
    if key in _reading:  # virtual getter (sizeHint, QProgressBar.text): Shiboken looks for a Python override
        return _get(obj, prop.name())
    _reading.add(key)
    try:
        v = prop.read(obj)
    finally:
        _reading.discard(key)
    if isinstance(v, list):
        return tuple(v)  # PythonQt hands lists out as tuples
    if isinstance(v, enum.Enum) and not isinstance(v, int):
        return v.value  # and enum properties as ints
    return v


def getattribute(self, name):
    if name in _methods:
        return types.MethodType(_methods[name], self)
    if name.startswith("_") or _python_attr(self, name):
        return _get(self, name)
    prop = _property(type(self), name)
    if prop is not None:
        return _read(prop, self)
    try:
        return _get(self, name)
    except AttributeError:
        if name == "name":
            return QObject.objectName(self)
        value = QObject.property(self, name)
        if value is not None:
            return value
        for child in QObject.children(self):
            if QObject.objectName(child) == name:
                return child
        raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'") from None


def _coerce(prop, value):
    if prop.isEnumType() or prop.isFlagType():
        return value
    t = prop.typeName()
    if t == "QStringList":
        return [str(x) for x in value]
    if t in ("int", "uint", "double", "float") and isinstance(value, str):
        raise TypeError
    if t == "int" and isinstance(value, float):
        return math.floor(value)
    # PythonQt converts non-strictly when a property is written
    return {"QString": str, "int": int, "uint": int, "double": float, "float": float, "bool": bool}.get(t, lambda v: v)(
        value
    )


def setattribute(self, name, value):
    if name.startswith("_"):
        return _set(self, name, value)
    prop = _property(type(self), name)
    if prop is not None:
        if not prop.isWritable():
            raise AttributeError(f"Property '{name}' of {type(self).__name__} object is not writable")
        try:
            ok = prop.write(self, _coerce(prop, value))
        except (TypeError, ValueError):
            ok = False
        if not ok:
            raise AttributeError(
                f"Property '{name}' of type '{prop.typeName()}' does not accept an object of type "
                f"{type(value).__name__} ({value!r})"
            )
        return None
    if name == "name":
        return QObject.setObjectName(self, value)
    if QObject.property(self, name) is not None:
        QObject.setProperty(self, name, value)
        return None
    if QUiLoader.busy:  # PySide6's loader adds children as attributes of the root widget; PythonQt does not
        return None
    derived = not type(self).__module__.startswith("PySide6") and not getattr(type(self), "_emulates_cpp", False)
    if derived or _python_attr(self, name):
        return _set(self, name, value)
    raise AttributeError(
        f"Attribute '{name}' does not exist and creation of new attributes on C++ objects is not allowed "
        f"({type(self).__name__})"
    )


def _limit(f):
    """Number of positional arguments f takes (None: any)."""
    try:
        ps = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(p.kind == p.VAR_POSITIONAL for p in ps):
        return None
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in ps)


def _caller(f):
    n = _limit(f)

    def call(*a):
        try:
            f(*(a if n is None else a[:n]))
        except Exception as e:  # like PythonQt: printed, not propagated into Qt
            errors.append(e)
            traceback.print_exc()

    return call


def _split(sig):
    m = re.fullmatch(r"\s*([A-Za-z_]\w*)\s*\((.*)\)\s*", sig)
    return (m.group(1), m.group(2).strip()) if m else (sig, None)


def _bound_signal(obj, sig):
    """SignalInstance for a C++-style signature, or None."""
    alias = getattr(type(obj), "_signals", {})
    norm = re.sub(r"\s|const|&", "", sig)
    if norm in alias:
        return _get(obj, alias[norm])
    name, args = _split(norm)
    meta = QObject.metaObject(obj)
    if meta.indexOfSignal(norm) < 0:
        return None
    inst = _get(obj, name)
    return _overload(inst, meta, norm)


def _overload(inst, meta, norm):
    m = meta.method(meta.indexOfSignal(norm))
    types_ = [bytes(t).decode() for t in m.parameterTypes()]
    py = {"int": int, "bool": bool, "QString": str, "double": float}
    if len(types_) == 1 and types_[0] in py:
        try:
            return inst[py[types_[0]]]
        except (KeyError, IndexError, TypeError):
            return inst
    return inst


def connect(self, *a):
    if len(a) == 3 and isinstance(a[0], QObject):  # static form, used by PySide6's own QTimer.singleShot
        return connect(a[0], a[1].lstrip("012"), a[2])
    if len(a) == 2 and isinstance(a[0], str) and callable(a[1]):
        sig, f = a
    elif len(a) == 3 and isinstance(a[0], str):
        sig, f = a[0], _get(a[1], _split(a[2])[0])
    else:
        raise TypeError(f"connect{a!r}")
    inst = _bound_signal(self, sig)
    if inst is None:
        message = f"PythonQt: QObject::connect() signal '{sig}' does not exist on {type(self).__name__}"
        print(message, file=sys.stderr)
        errors.append(LookupError(message))  # Slicer only prints this; a test wants to fail on it
        return False
    zero = _split(sig)[1] == ""
    call = _caller(f)
    slot = (lambda *x: call()) if zero else call
    inst.connect(slot)
    self.__dict__.setdefault("_pq", []).append((sig, f, inst, slot))
    return True


def disconnect(self, *a):
    handled = False
    for entry in list(self.__dict__.get("_pq", [])):
        sig, f, inst, slot = entry
        if a[0] == sig and (len(a) == 1 or f == a[1]):
            inst.disconnect(slot)
            self.__dict__["_pq"].remove(entry)
            handled = True
    return handled


def className(self):
    return self.metaObject().className()


def _delete(self):
    import shiboken6

    shiboken6.delete(self)


def _children(self):
    return tuple(QObject.children(self))


_methods = {
    "connect": connect,
    "disconnect": disconnect,
    "className": className,
    "delete": _delete,
    "children": _children,
}


def install():
    QObject.__getattribute__ = getattribute
    for ns in _NS:  # each PySide6 class has a __setattr__ of its own
        for n in dir(ns):
            c = getattr(ns, n)
            if isinstance(c, type) and issubclass(c, QObject):
                c.__setattr__ = setattribute
    QtCore.QProcess.__getattribute__ = getattribute  # has one of its own
    sys.modules["qt"] = qt


class _Qt(types.ModuleType):
    """Flat namespace of all Qt classes, as Slicer's `qt` package offers it."""

    def __getattr__(self, name):
        for ns in _NS:
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


class QUiLoader(QtUiTools.QUiLoader):
    """Builds emulated ctk*/qMRML* classes by name and makes the .ui file's <connections> in Python."""

    factories, busy = {}, False

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
        QUiLoader.busy = True
        try:
            self._failed = []
            w = super().load(buf, parent)
        finally:
            QUiLoader.busy = False
        if self._failed:
            raise RuntimeError(f".ui file could not be loaded: {self._failed}")
        byname = {QObject.objectName(o): o for o in [w] + list(QtWidgets.QWidget.findChildren(w, QObject))}
        for c in links:
            s, r = byname[c["sender"]], byname[c["receiver"]]
            if not connect(s, c["signal"], _get(r, _split(c["slot"])[0])):
                raise RuntimeError(f"connection failed: {c}")
        return w


qt.QUiLoader = QUiLoader
qt.Signal, qt.Slot, qt.Property = QtCore.Signal, QtCore.Slot, QtCore.Property
