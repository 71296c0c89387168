"""How the value of a widget is heard of, read and written, as Slicer's parameter node does it."""


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
