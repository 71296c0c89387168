"""How a Python class stands in for a C++ widget class."""

import qt_namespace
from PySide6 import QtWidgets
from PySide6.QtCore import Property


def emulate(cls):
    """Mark a class as standing in for a C++ class: no new public attributes from outside, buildable from .ui files."""
    cls._emulates_cpp = True
    qt_namespace.QUiLoader.factories[cls.__name__] = cls
    return cls


def prop(kind, field, default, changed=None):
    def fget(self):
        return self.__dict__.get(field, default)

    def fset(self, v):
        self.__dict__[field] = v
        if changed:
            getattr(self, changed)()

    return Property(kind, fget, fset)


def placeholder(module, name, prefixes):
    """Class that can be named (isinstance, annotations) but not built."""
    if not name.startswith(prefixes):
        raise AttributeError(f"module '{module.__name__}' has no attribute '{name}'")

    def init(self, *a):
        raise NotImplementedError(f"{name} is not emulated by this runtime")

    c = type(name, (QtWidgets.QWidget,), {"__init__": init})
    setattr(module, name, c)
    return c
