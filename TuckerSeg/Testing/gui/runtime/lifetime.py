"""How long Qt objects live, as PythonQt has it.

An object that Python made and that has no parent is deleted when its last Python reference goes, at once, even while
one of its own signals is being handed out; ``deleteLater`` does not change that. Qt then goes on with freed memory and
the application crashes, at once or later. Here the object is kept until Qt is done with it, and ``on_misuse`` is told.

An object with a parent belongs to the parent. A connection keeps its receiver, and not its sender.
"""

import sys

import shiboken6
from PySide6 import QtCore

HELD_ELSEWHERE = 3  # references at least, of which one is this module's and one is getrefcount's own
_depth = {}  # of objects whose signals are being handed out: how many, one within the other
_outlived = []  # what PythonQt would have deleted already


class Emission:
    """While it is open, one of a sender's signals is being handed out to Python.

    Args:
        sender: Weak reference to the object, which this keeps alive.
        signal: Its signature, for the message.
        on_misuse: Receives an error when the object has lost its last reference meanwhile.
    """

    def __init__(self, sender, signal, on_misuse):
        self._signal, self._on_misuse = signal, on_misuse
        self._owner = owner_of(sender())

    def __enter__(self):
        if self._owner is not None:
            _depth[id(self._owner)] = _depth.get(id(self._owner), 0) + 1

    def __exit__(self, *_):
        owner, self._owner = self._owner, None
        if owner is None:
            return
        key = id(owner)
        _depth[key] -= 1
        if not _depth[key]:
            del _depth[key]
            if dies_with_its_references(owner) and sys.getrefcount(owner) < HELD_ELSEWHERE:
                self._misuse(owner)

    def _misuse(self, owner):
        if not _outlived:
            QtCore.QTimer.singleShot(0, _outlived.clear)
        _outlived.append(owner)
        self._on_misuse(
            ReferenceError(
                f"A {type(owner).__name__} without a parent lost its last reference while its signal '{self._signal}' "
                "was handed out: PythonQt deletes it at once, and Qt goes on with freed memory. Give it a parent, and "
                "call deleteLater."
            )
        )


def owner_of(sender):
    """The object whose wrapper decides how long the sender lives: its topmost parent, or itself."""
    if sender is None or not shiboken6.isValid(sender):
        return None
    while (parent := QtCore.QObject.parent(sender)) is not None:
        sender = parent
    return sender


def dies_with_its_references(owner):
    """Whether Python made the object and nobody has taken it over."""
    return shiboken6.isValid(owner) and shiboken6.ownedByPython(owner) and "_made_by_loader" not in owner.__dict__


def delete_later(self):
    """``QObject.deleteLater``, that leaves an object without a parent to its references (PySide6's gives it to Qt)."""
    QtCore.QMetaObject.invokeMethod(self, "deleteLater", QtCore.Qt.ConnectionType.DirectConnection)


def delete_what_is_due():
    """Carry out every ``deleteLater``, as the application's event loop does; not while a signal is handed out."""
    if not _depth:
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)
