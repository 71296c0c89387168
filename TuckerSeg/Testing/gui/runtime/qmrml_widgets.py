"""Emulated qMRML* and qSlicer* widget classes on the real scene: what a segmentation panel uses of them."""

import slicer
import vtk
from emulation import emulate, placeholder, prop
from PySide6 import QtGui, QtWidgets
from PySide6.QtCore import Property, Signal
from qmrml_node_combo_box import qMRMLNodeComboBox  # noqa: F401  (install() offers it)
from qmrml_scene_widget import SceneWidget, qMRMLWidget, qSlicerWidget  # noqa: F401


@emulate
class qMRMLTableView(SceneWidget, QtWidgets.QTableView):
    """Shows the columns of a real vtkMRMLTableNode."""

    mrmlSceneChanged = Signal(object)
    _signals = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}

    def __init__(self, parent=None):
        QtWidgets.QTableView.__init__(self, parent)
        self._node, self._tag = None, None
        self._items = QtGui.QStandardItemModel(self)
        self.setModel(self._items)
        self.verticalHeader().setVisible(False)

    def mrmlTableNode(self):
        return self._node

    def setMRMLTableNode(self, node):
        if self._node is not None:
            self._node.RemoveObserver(self._tag)
        self._node = node
        self._tag = (
            node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *a: self._fill()) if node is not None else None
        )
        self._fill()

    def _fill(self):
        self._items.clear()
        if self._node is None:
            return
        table = self._node.GetTable()
        columns, rows = table.GetNumberOfColumns(), table.GetNumberOfRows()
        self._items.setHorizontalHeaderLabels([table.GetColumnName(c) for c in range(columns)])
        for r in range(rows):
            self._items.appendRow([QtGui.QStandardItem(table.GetValue(r, c).ToString()) for c in range(columns)])


@emulate
class qMRMLSegmentationShow3DButton(QtWidgets.QPushButton):
    """Makes all surfaces in one go, as the real one; follows its node, and is enabled while that has segments."""

    SURFACE = "Closed surface"

    def __init__(self, parent=None):
        super().__init__(parent)
        self.text = "Show 3D"
        self.checkable = True
        self._seg, self._tags, self._locked = None, [], False
        self.toggled.connect(self._toggled)
        self._menu = QtWidgets.QMenu("Show 3D", self)  # the real one opens it by the arrow alone
        self.enabled = False

    locked = prop(bool, "_locked", False)

    def menu(self):
        return self._menu

    def segmentationNode(self):
        return self._seg

    def setSegmentationNode(self, n):
        if n is self._seg:
            return
        for tag in self._tags:
            self._seg.RemoveObserver(tag)
        events = (vtk.vtkCommand.ModifiedEvent, slicer.vtkSegmentation.SegmentAdded)
        events += (slicer.vtkSegmentation.SegmentRemoved, slicer.vtkSegmentation.ContainedRepresentationNamesModified)
        self._seg = n
        self._tags = [n.AddObserver(event, lambda *_: self._update()) for event in events] if n is not None else []
        self._update()

    def _update(self):
        if self._seg is None:
            self.enabled = False
            return
        segmentation = self._seg.GetSegmentation()
        source = segmentation.GetSourceRepresentationName()
        self.enabled = not self._locked and segmentation.GetNumberOfSegments() > 0 and source != self.SURFACE
        self.blockSignals(True)
        self.checked = segmentation.ContainsRepresentation(self.SURFACE)
        self.blockSignals(False)

    def _toggled(self, on):
        if self._seg is None:
            return
        segmentation = self._seg.GetSegmentation()
        if on and segmentation.CreateRepresentation(self.SURFACE):
            display = self._seg.GetDisplayNode()
            if display is not None:
                display.SetPreferredDisplayRepresentationName3D(self.SURFACE)
        elif not on and segmentation.GetSourceRepresentationName() != self.SURFACE:
            segmentation.RemoveRepresentation(self.SURFACE)


@emulate
class qMRMLSegmentsTableView(qMRMLWidget):
    """Name/colour/opacity table of a real vtkSegmentation."""

    def __init__(self, parent=None):
        super().__init__(parent)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._t = QtWidgets.QTableWidget(0, 3)
        self._t.setHorizontalHeaderLabels(["", "Name", "Label"])
        layout.addWidget(self._t)
        self._t.verticalHeader().setVisible(False)
        self._t.horizontalHeader().stretchLastSection = True
        self._seg, self._tag = None, None

    def segmentationNode(self):
        return self._seg

    def setSegmentationNode(self, n):
        if self._seg is not None and self._tag:
            self._seg.RemoveObserver(self._tag)
        self._seg = n
        self._tag = n.AddObserver(vtk.vtkCommand.AnyEvent, lambda *a: None) if n is not None else None
        ids = list(n.GetSegmentation().GetSegmentIDs()) if n is not None else []
        self._ids = ids
        self._t.rowCount = len(ids)
        for r, i in enumerate(ids):
            s = n.GetSegmentation().GetSegment(i)
            it = QtWidgets.QTableWidgetItem()
            it.setBackground(QtGui.QColor.fromRgbF(*s.GetColor()))
            self._t.setItem(r, 0, it)
            self._t.setItem(r, 1, QtWidgets.QTableWidgetItem(s.GetName()))
            self._t.setItem(r, 2, QtWidgets.QTableWidgetItem(str(s.GetLabelValue())))

    segmentCount = Property(int, lambda s: s._t.rowCount)

    def displayedSegmentIDs(self):
        return list(self._ids)

    readOnly = prop(bool, "_ro", False)
    filterBarVisible = prop(bool, "_fb", False)
    opacityColumnVisible = prop(bool, "_op", True)
    statusColumnVisible = prop(bool, "_st", False)
    headerVisible = prop(bool, "_hv", True)
    visibilityColumnVisible = prop(bool, "_vv", True)
    colorColumnVisible = prop(bool, "_cv", True)
    selectionMode = prop(int, "_sm", 3)


def install():
    """Put the classes into ``slicer``; other names of this kind can be named, not built."""
    for name, value in list(globals().items()):
        if name.startswith("q") and isinstance(value, type):
            setattr(slicer, name, value)
    slicer.__getattr__ = lambda name: placeholder(slicer, name, ("qMRML", "qSlicer"))
