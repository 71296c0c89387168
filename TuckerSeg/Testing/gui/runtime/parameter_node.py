"""A small stand-in for ``slicer.parameterNodeWrapper``: typed, checked fields kept in a vtkMRMLScriptedModuleNode.

Offers what a module of this project uses, under Slicer's names: the decorator, ``WithinRange``, ``Choice``,
``parameterNode``, ``connectGui``/``disconnectGui`` by the dynamic property ``SlicerParameterName``. What is stored is
what Slicer stores: ``str(number)``, ``True``/``False``, ``name.len`` with ``name.0`` and so on for a list, and for a
node an empty parameter beside the reference.

A view keeps every value but lists, and reads them anew only when the node says that it was modified. So it keeps None
for a node that an import had not added yet when the parameter node was filled, and, until the import is over, a node
of the former scene that bears the same ID. ``disconnectGui`` leaves its observer behind where the release does
(``versions``).
"""

import collections.abc
import sys
import types
import typing
import weakref

import slicer
import slicer.util
import versions
import vtk
from widget_access import ACCESS


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


class ObservedList(collections.abc.MutableSequence):
    """What a list field reads as: no ``list``, but equal to one; a change of it is written to the node."""

    def __init__(self, field, node, values):
        self._field, self._node, self._values = field, node, values

    def __repr__(self):
        return f"ObservedList({self._values})"

    def __eq__(self, other):
        return self._values == (other._values if isinstance(other, ObservedList) else other)

    def __len__(self):
        return len(self._values)

    def __getitem__(self, index):
        return self._values[index]

    def __setitem__(self, index, value):
        self._values[index] = value
        self._field.write(self._node, self._values)

    def __delitem__(self, index):
        del self._values[index]
        self._field.write(self._node, self._values)

    def insert(self, index, value):
        self._values.insert(index, value)
        self._field.write(self._node, self._values)


class Field:
    """One annotated field: its name, type, default and validators, and how it is kept in a node."""

    def __init__(self, name, hint, default):
        self.name, self.validators = name, []
        if typing.get_origin(hint) is typing.Annotated:
            hint, *extra = typing.get_args(hint)
            self.validators = [item for item in extra if isinstance(item, Validator)]
        self.kind = typing.get_origin(hint) or hint
        self.is_node = isinstance(self.kind, type) and issubclass(self.kind, slicer.vtkMRMLNode)
        self.default = self.kind() if default is None and not self.is_node else default

    @property
    def is_cached(self):
        return self.kind is not list

    def check(self, value):
        if self.is_node and value is None:
            return
        kinds = (int, float) if self.kind is float else self.kind
        if self.kind is not list and not isinstance(value, kinds):
            raise TypeError(f"Expected a value of type {self.kind.__name__}, found {type(value).__name__}")
        for validator in self.validators:
            validator.validate(value)

    def is_in(self, node):
        return node.HasParameter(f"{self.name}.len" if self.kind is list else self.name)

    def write(self, node, value):
        self.check(value)
        with slicer.util.NodeModify(node):
            if self.is_node:
                node.SetParameter(self.name, "")
                node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
            elif self.kind is list:
                for index in range(len(value), self._length(node)):
                    node.UnsetParameter(f"{self.name}.{index}")
                for index, item in enumerate(value):
                    node.SetParameter(f"{self.name}.{index}", item)
                node.SetParameter(f"{self.name}.len", str(len(value)))
            else:
                node.SetParameter(self.name, str(bool(value) if self.kind is bool else value))

    def read(self, node):
        if not self.is_in(node):
            self.write(node, self.default)
        if self.is_node:
            return node.GetNodeReference(self.name)
        if self.kind is list:
            items = [node.GetParameter(f"{self.name}.{index}") for index in range(self._length(node))]
            return ObservedList(self, node, items)
        text = node.GetParameter(self.name)
        return text == "True" if self.kind is bool else self.kind(text)

    def _length(self, node):
        return int(node.GetParameter(f"{self.name}.len") or 0)


class CachedValue:
    """A field's value as it was when the node was modified last."""

    def __init__(self, field, node):
        self._field, self._node, self._writing = field, node, False
        self._value = field.read(node)
        weak = weakref.ref(self)
        self._tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: weak()._on_modified())

    def __del__(self):
        self._node.RemoveObserver(self._tag)

    def read(self):
        return self._value

    def write(self, value):
        self._writing = True
        try:
            with slicer.util.NodeModify(self._node):
                self._field.write(self._node, value)
                self._value = self._field.read(self._node)
        finally:
            self._writing = False

    def _on_modified(self):
        if not self._writing:
            self._value = self._field.read(self._node)


class UncachedValue:
    """A field's value as it is in the node."""

    def __init__(self, field, node):
        self._field, self._node = field, node

    def read(self):
        return self._field.read(self._node)

    def write(self, value):
        self._field.write(self._node, value)


def parameterNodeWrapper(cls):
    """Turn a class of annotated fields into a typed view of a vtkMRMLScriptedModuleNode."""
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {name: Field(name, hint, cls.__dict__.get(name)) for name, hint in hints.items()}

    def make(self, parameter_node):
        self.parameterNode = parameter_node
        self._connections, self._observers = {}, {}
        self._values = {}
        for name, field in fields.items():
            if not field.is_in(parameter_node):
                field.write(parameter_node, field.default)
            self._values[name] = (CachedValue if field.is_cached else UncachedValue)(field, parameter_node)

    def accessor(name):
        return property(lambda self: self._values[name].read(), lambda self, value: self._values[name].write(value))

    namespace = {name: accessor(name) for name in fields}
    namespace |= {
        "__init__": make,
        "connectGui": connect_gui,
        "connectParametersToGui": connect_parameters_to_gui,
        "disconnectGui": disconnect_gui,
        "isCached": lambda self, name: fields[name].is_cached,
        "__doc__": cls.__doc__,
        "__module__": cls.__module__,
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
    tag = len(self._connections)
    self._connections[tag] = slots
    # As Slicer 5.10, which never takes it away: the node keeps the view alive through it.
    self._observers[tag] = self.parameterNode.AddObserver(
        vtk.vtkCommand.ModifiedEvent, lambda caller, event: to_widgets() if self._connections.get(tag) else None
    )
    return tag


def disconnect_gui(self, tag):
    """Undo ``connectGui``; in Slicer 5.10, but for the observer."""
    for widget, signal, slot in self._connections.get(tag, ()):
        widget.disconnect(signal, slot)
    self._connections[tag] = ()
    if not versions.current.keeps_observer and tag in self._observers:
        self.parameterNode.RemoveObserver(self._observers.pop(tag))


def set_range(widget, field):
    """A field's range becomes the widget's, as in Slicer."""
    for validator in field.validators:
        if isinstance(validator, WithinRange) and hasattr(widget, "minimum"):
            widget.minimum, widget.maximum = validator.minimum, validator.maximum


def install():
    """Put the stand-in where modules import it from."""
    module = types.ModuleType("slicer.parameterNodeWrapper")
    for item in (parameterNodeWrapper, WithinRange, Choice, Validator):
        setattr(module, item.__name__, item)
    sys.modules["slicer.parameterNodeWrapper"] = module
    slicer.parameterNodeWrapper = module
