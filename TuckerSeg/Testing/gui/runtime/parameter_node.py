"""A small stand-in for ``slicer.parameterNodeWrapper``: typed, checked fields kept in a vtkMRMLScriptedModuleNode.

Offers what a module of this project uses, under Slicer's names: the decorator, ``WithinRange``, ``Choice``,
``parameterNode``, ``connectGui``/``disconnectGui`` by the dynamic property ``SlicerParameterName``. Values are JSON
text in the node's own parameters, nodes are its references, so they survive saving; the text differs from Slicer's.
"""

import copy
import json
import sys
import types
import typing

import slicer
import vtk


class Validator:
    """Raises ValueError for a value that a field may not have."""

    def validate(self, value):
        raise NotImplementedError


class WithinRange(Validator):
    """A number from minimum to maximum."""

    def __init__(self, minimum, maximum):
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value):
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within the range [{self.minimum}, {self.maximum}], is {value}")


class Choice(Validator):
    """One of some values."""

    def __init__(self, choices):
        self.choices = list(choices)

    def validate(self, value):
        if value not in self.choices:
            raise ValueError(f"Value must be one of {self.choices}, is {value!r}")


class Field:
    """One annotated field: its type, its default, its validators."""

    def __init__(self, hint, default):
        self.validators = []
        if typing.get_origin(hint) is typing.Annotated:
            hint, *extra = typing.get_args(hint)
            self.validators = [item for item in extra if isinstance(item, Validator)]
        self.kind = typing.get_origin(hint) or hint
        self.is_node = isinstance(self.kind, type) and issubclass(self.kind, slicer.vtkMRMLNode)
        self.default = self.kind() if default is None and not self.is_node else default

    def check(self, value):
        if self.is_node:
            if value is not None and not isinstance(value, self.kind):
                raise ValueError(f"Expected a {self.kind.__name__}, found {type(value).__name__}")
            return value
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, self.kind) or (self.kind is int and isinstance(value, bool)):
            raise ValueError(f"Expected a value of type {self.kind.__name__}, found {type(value).__name__}")
        for validator in self.validators:
            validator.validate(value)
        return value


def parameterNodeWrapper(cls):
    """Turn a class of annotated fields into a typed view of a vtkMRMLScriptedModuleNode."""
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {name: Field(hint, cls.__dict__.get(name)) for name, hint in hints.items()}

    def make(self, parameter_node):
        self.parameterNode = parameter_node
        self._connections = {}

    def accessor(name, field):
        def get(self):
            if field.is_node:
                return self.parameterNode.GetNodeReference(name)
            text = self.parameterNode.GetParameter(name)
            return json.loads(text) if text else copy.deepcopy(field.default)

        def set_(self, value):
            value = field.check(value)
            if field.is_node:
                self.parameterNode.SetNodeReferenceID(name, value.GetID() if value is not None else None)
            else:
                self.parameterNode.SetParameter(name, json.dumps(value))

        return property(get, set_)

    namespace = {name: accessor(name, field) for name, field in fields.items()}
    namespace |= {
        "__init__": make,
        "connectGui": connect_gui,
        "connectParametersToGui": connect_parameters_to_gui,
        "disconnectGui": disconnect_gui,
        "__doc__": cls.__doc__,
    }
    namespace["_fields"] = fields
    return type(cls.__name__, (), namespace)


def connect_gui(self, ui):
    """Bind every widget with a ``SlicerParameterName``, both ways. Gives no tag, as Slicer's."""
    names = {widget.property("SlicerParameterName"): widget for widget in vars(ui).values()}
    connect_parameters_to_gui(self, {name: widget for name, widget in names.items() if name})


def connect_parameters_to_gui(self, widgets):
    """Bind widgets by the names of their parameters, both ways; returns a tag for ``disconnectGui``."""
    bound = []
    for name, widget in widgets.items():
        if name not in self._fields:
            raise ValueError(f"Widget {widget.objectName} names the parameter '{name}', which does not exist")
        bound.append((widget, name, *ACCESS[type(widget).__name__]))
    updating = [False]

    def to_widgets(*_):
        if updating[0]:
            return
        updating[0] = True
        try:
            for widget, name, _signal, _read, write in bound:
                write(widget, getattr(self, name))
        finally:
            updating[0] = False

    def from_widget(widget, name, read):
        def changed(*_):
            if updating[0]:
                return
            value = self._fields[name].kind(read(widget)) if not self._fields[name].is_node else read(widget)
            if value != getattr(self, name):
                setattr(self, name, value)

        return changed

    for widget, name, *_ in bound:
        set_range(widget, self._fields[name])
    to_widgets()
    slots = []
    for widget, name, signal, read, _write in bound:
        slot = from_widget(widget, name, read)
        if not widget.connect(signal, slot):
            raise ValueError(f"{type(widget).__name__} has no signal {signal}")
        slots.append((widget, signal, slot))
    tag = self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, to_widgets)
    self._connections[tag] = slots
    return tag


def disconnect_gui(self, tag):
    """Undo ``connectGui``."""
    for widget, signal, slot in self._connections.pop(tag, ()):
        widget.disconnect(signal, slot)
    self.parameterNode.RemoveObserver(tag)


def set_range(widget, field):
    """A field's range becomes the widget's, as in Slicer."""
    for validator in field.validators:
        if isinstance(validator, WithinRange) and hasattr(widget, "minimum"):
            widget.minimum, widget.maximum = validator.minimum, validator.maximum


def _write(name):
    return lambda widget, value: setattr(widget, name, value)


def _read(name):
    return lambda widget: getattr(widget, name)


ACCESS = {  # widget class: signal, read, write
    "qMRMLNodeComboBox": (
        "currentNodeChanged(vtkMRMLNode*)",
        lambda widget: widget.currentNode(),
        lambda widget, node: widget.setCurrentNode(node),
    ),
    "QCheckBox": ("toggled(bool)", _read("checked"), _write("checked")),
    "ctkSliderWidget": ("valueChanged(double)", _read("value"), _write("value")),
    "QDoubleSpinBox": ("valueChanged(double)", _read("value"), _write("value")),
    "QSpinBox": ("valueChanged(int)", _read("value"), _write("value")),
    "QLineEdit": ("textChanged(QString)", _read("text"), _write("text")),
}


def install():
    """Put the stand-in where modules import it from."""
    module = types.ModuleType("slicer.parameterNodeWrapper")
    for item in (parameterNodeWrapper, WithinRange, Choice, Validator):
        setattr(module, item.__name__, item)
    sys.modules["slicer.parameterNodeWrapper"] = module
    slicer.parameterNodeWrapper = module
