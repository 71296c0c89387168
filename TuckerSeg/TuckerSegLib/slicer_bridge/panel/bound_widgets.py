"""Widgets that show one field of the parameter node each; the .ui file names the field as ``SlicerParameterName``.

Slicer's own binding (``connectGui``) is not used: up to 5.12 it leaves an observer in the parameter node with every
connection, and the panel connects anew with every scene.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .context import PanelContext
from .section import Section


@dataclass(frozen=True)
class Access:
    """How a kind of widget tells that it was changed, is read, and is written."""

    signal: str
    read: Callable[[Any], Any]
    write: Callable[[Any, Any], None]


def _of_property(name: str, signal: str) -> Access:
    return Access(signal, lambda widget: getattr(widget, name), lambda widget, value: setattr(widget, name, value))


ACCESS = {
    "qMRMLNodeComboBox": Access(
        "currentNodeChanged(vtkMRMLNode*)",
        lambda widget: widget.currentNode(),
        lambda widget, node: widget.setCurrentNode(node),
    ),
    "QCheckBox": _of_property("checked", "toggled(bool)"),
    "ctkSliderWidget": _of_property("value", "valueChanged(double)"),
    "QSpinBox": _of_property("value", "valueChanged(int)"),
}


class BoundWidgets(Section):
    """Keeps them and the parameter node equal, both ways."""

    def __init__(self, context: PanelContext):
        self._context = context
        named = ((widget.property("SlicerParameterName"), widget) for widget in vars(context.ui).values())
        self._widgets = {name: (widget, ACCESS[widget.className()]) for name, widget in named if name}
        for name, (widget, access) in self._widgets.items():
            widget.connect(access.signal, self._writer(name, widget, access))

    def refresh(self) -> None:
        for name, (widget, access) in self._widgets.items():
            access.write(widget, getattr(self._context.parameters, name))

    def _writer(self, name: str, widget: Any, access: Access) -> Callable[..., None]:
        return lambda *_: self._context.change(**{name: access.read(widget)})
