"""PythonQt-style Python API on top of PySide6, for testing Slicer scripted modules outside Slicer.

Semantics follow what PythonQt does for wrapped QObjects:
  read   obj.prop        -> value of the Qt property (so obj.text is a str and obj.text() fails)
  write  obj.prop = v    -> QMetaProperty.write; unknown names raise AttributeError on C++ classes
  obj.name               -> objectName;  dynamic properties and named children are attributes, too
  obj.connect("clicked(bool)", f) / obj.disconnect(...) -> bool, message on stderr if no such signal
  callables get at most as many arguments as they take
  objects without a parent die with their last Python reference (see ``lifetime``); of a deleted one nothing can be read
"""

import enum
import inspect
import math
import re
import sys
import traceback
import types
import weakref

import lifetime
import shiboken6
from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets

QObject = QtCore.QObject
NAMESPACES = (QtCore, QtGui, QtWidgets, QtUiTools, QtNetwork)
plain_get = QObject.__getattribute__
errors = []  # exceptions raised inside slots, and misuse: a test must assert that this stays empty
loading_ui = False
hidden_names = frozenset()  # attributes that the release of Slicer that is played has not
_index = {}


def _set(obj, name, value):
    for c in type(obj).__mro__:
        d = c.__dict__.get(name)
        if d is not None:
            if hasattr(type(d), "__set__"):
                d.__set__(obj, value)
                return
            break
    plain_get(obj, "__dict__")[name] = value


def _property(obj, name):
    cls = type(obj)
    key = (cls, name)
    if key not in _index:
        meta = QObject.metaObject(obj)  # the class's own can be gone once an object of it was deleted
        i = meta.indexOfProperty(name)
        _index[key] = meta.property(i) if i >= 0 else None
    return _index[key]


def _python_attr(obj, name):
    """True if a Python-level definition (instance dict or Python class) shadows the C++ side."""
    if name in plain_get(obj, "__dict__"):
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
        return plain_get(obj, prop.name())
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


def _must_live(obj, name):
    if not shiboken6.isValid(obj):
        raise ValueError(f"Trying to use '{name}' of a destroyed {type(obj).__name__} object")


def getattribute(self, name):
    if name in hidden_names:
        raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")
    if name in _methods:
        return types.MethodType(_methods[name], self)
    if name.startswith("_") or _python_attr(self, name):
        return plain_get(self, name)
    _must_live(self, name)
    prop = _property(self, name)
    if prop is not None:
        return _read(prop, self)
    try:
        return plain_get(self, name)
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
    if name.startswith("_") or isinstance(value, QtCore.SignalInstance):  # PySide6's own, of an object that Qt made
        return _set(self, name, value)
    _must_live(self, name)
    prop = _property(self, name)
    if name == "singleShot" and isinstance(self, QtCore.QTimer):  # hidden by the static method of this name
        raise AttributeError("Slot 'singleShot' can not be overwritten on QTimer object")
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
    if loading_ui:  # PySide6's loader adds children as attributes of the root widget; PythonQt does not
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


def _caller(sender, signal, f):
    n = _limit(f)

    def call(*a):
        with lifetime.Emission(sender, signal, _report):
            try:
                f(*(a if n is None else a[:n]))
            except Exception as e:  # like PythonQt: printed, not propagated into Qt
                errors.append(e)
                traceback.print_exc()

    return call


def _report(error):
    errors.append(error)
    print(f"PythonQt: {error}", file=sys.stderr)


def split_signature(sig):
    m = re.fullmatch(r"\s*([A-Za-z_]\w*)\s*\((.*)\)\s*", sig)
    return (m.group(1), m.group(2).strip()) if m else (sig, None)


def _bound_signal(obj, sig):
    """SignalInstance for a C++-style signature, or None."""
    alias = getattr(type(obj), "_signals", {})
    norm = re.sub(r"\s|const|&", "", sig)
    if norm in alias:
        return plain_get(obj, alias[norm])
    name, args = split_signature(norm)
    meta = QObject.metaObject(obj)
    if meta.indexOfSignal(norm) < 0 or name in hidden_names:
        return None
    inst = plain_get(obj, name)
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
        sig, f = a[0], plain_get(a[1], split_signature(a[2])[0])
    else:
        raise TypeError(f"connect{a!r}")
    inst = _bound_signal(self, sig)
    if inst is None:
        message = f"PythonQt: QObject::connect() signal '{sig}' does not exist on {type(self).__name__}"
        print(message, file=sys.stderr)
        errors.append(LookupError(message))  # Slicer only prints this; a test wants to fail on it
        return False
    zero = split_signature(sig)[1] == ""
    call = _caller(weakref.ref(self), sig, f)
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
    shiboken6.delete(self)


def _children(self):
    return tuple(QObject.children(self))


_methods = {
    "connect": connect,
    "disconnect": disconnect,
    "className": className,
    "delete": _delete,
    "children": _children,
    "deleteLater": lifetime.delete_later,
}


def install():
    QObject.__getattribute__ = getattribute
    for ns in NAMESPACES:  # each PySide6 class has a __setattr__ of its own
        for n in dir(ns):
            c = getattr(ns, n)
            if isinstance(c, type) and issubclass(c, QObject):
                c.__setattr__ = setattribute
    QtCore.QProcess.__getattribute__ = getattribute  # has one of its own
    QtWidgets.QMenu.__getattribute__ = getattribute
    QObject.__bool__ = lambda self: shiboken6.isValid(self)
    import qt_namespace

    QtCore.QSettings.value = qt_namespace.settings_value
    sys.modules["qt"] = qt_namespace.qt
