"""The selector of a node, on the real scene."""

from emulation import emulate, prop
from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal
from qmrml_scene_widget import SceneWidget


@emulate
class qMRMLNodeComboBox(SceneWidget, QtWidgets.QWidget):
    currentNodeChanged = Signal(object)
    _bool = Signal(bool)
    currentNodeIDChanged = Signal(str)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeActivated = Signal(object)
    mrmlSceneChanged = Signal(object)
    _signals = {
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "currentNodeChanged(bool)": "_bool",
        "currentNodeIDChanged(QString)": "currentNodeIDChanged",
        "nodeAdded(vtkMRMLNode*)": "nodeAdded",
        "nodeAddedByUser(vtkMRMLNode*)": "nodeAddedByUser",
        "nodeActivated(vtkMRMLNode*)": "nodeActivated",
        "mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged",
    }

    def __init__(self, parent=None):
        QtWidgets.QWidget.__init__(self, parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._box = QtWidgets.QComboBox()
        layout.addWidget(self._box)
        self._nodes, self._current, self._updating = [], None, False
        self._box.activated.connect(self._activated)

    def _sceneEvent(self):
        self._rebuild()

    nodeTypes = prop("QStringList", "_types", [], "_rebuild")
    showChildNodeTypes = prop(bool, "_child", True, "_rebuild")
    hideChildNodeTypes = prop("QStringList", "_hide", [], "_rebuild")
    showHidden = prop(bool, "_hidden", False, "_rebuild")
    noneEnabled = prop(bool, "_none", False, "_rebuild")
    addEnabled = prop(bool, "_add", True, "_rebuild")
    removeEnabled = prop(bool, "_rm", True, "_rebuild")
    renameEnabled = prop(bool, "_ren", False, "_rebuild")
    editEnabled = prop(bool, "_edit", False, "_rebuild")
    selectNodeUponCreation = prop(bool, "_sel", True)
    baseName = prop(str, "_base", "")
    noneDisplay = prop(str, "_nd", "None", "_rebuild")

    def setNodeTypes(self, t):
        self.nodeTypes = t

    def setBaseName(self, b, t=""):
        self.baseName = b

    def _wanted(self, n):
        if n.GetHideFromEditors() and not self.showHidden:
            return False
        types_ = list(self.nodeTypes) or ["vtkMRMLNode"]
        if any(n.GetClassName() == t for t in types_):
            return True
        return (
            self.showChildNodeTypes
            and any(n.IsA(t) for t in types_)
            and not any(n.IsA(h) for h in self.hideChildNodeTypes)
        )

    def _rebuild(self):
        if "_nodes" not in self.__dict__ or self._updating:
            return
        s = self.mrmlScene()
        self._updating = True
        old = self._current
        self._nodes = (
            [s.GetNthNode(i) for i in range(s.GetNumberOfNodes()) if self._wanted(s.GetNthNode(i))] if s else []
        )
        b = self._box
        b.blockSignals(True)
        b.clear()
        label = (s.GetTagByClassName(self.nodeTypes[0]) if s and self.nodeTypes else None) or "node"
        if self.noneEnabled or not self._nodes:
            b.addItem(self.noneDisplay if self.noneEnabled else f"Select a {label}", "none")
        for n in self._nodes:
            b.addItem(n.GetName() or n.GetID(), n.GetID())
        acts = (
            ([f"Create new {label}"] if self.addEnabled else [])
            + ([f"Rename current {label}"] if self.renameEnabled else [])
            + ([f"Delete current {label}"] if self.removeEnabled else [])
        )
        if acts:
            b.insertSeparator(b.count)
        for a in acts:
            b.addItem(a, "action:" + a.split()[0])
        b.blockSignals(False)
        self._updating = False
        if old is not None and old not in self._nodes:
            old = None
        if old is None and not self.noneEnabled and self._nodes:
            old = self._nodes[0]  # real widget does this, too
        self._choose(old)

    def _choose(self, n):
        self._box.blockSignals(True)
        i = self._box.findData(n.GetID()) if n is not None else (0 if self.noneEnabled or not self._nodes else -1)
        self._box.currentIndex = i
        self._box.blockSignals(False)
        if n is self._current:
            return
        self._current = n
        self.currentNodeChanged.emit(n)
        self._bool.emit(n is not None)
        self.currentNodeIDChanged.emit(n.GetID() if n is not None else "")

    def _activated(self, i):
        d = self._box.itemData(i)
        if d == "action:Create":
            n = self.addNode()
            self.nodeAddedByUser.emit(n)
        elif d == "action:Delete" and self._current is not None:
            self._scene.RemoveNode(self._current)
        else:
            self._choose(next((n for n in self._nodes if n.GetID() == d), None))
            self.nodeActivated.emit(self._current)

    def addNode(self, kind=None):
        kind = kind or (self.nodeTypes[0] if self.nodeTypes else "")
        n = self._scene.CreateNodeByClass(kind)
        n.UnRegister(None)
        n.SetName(self._scene.GenerateUniqueName(self.baseName or n.GetNodeTagName()))
        n = self._scene.AddNode(n)
        if self.selectNodeUponCreation:
            self._choose(n)
        self.nodeAdded.emit(n)
        return n

    def currentNode(self):
        return self._current

    def setCurrentNode(self, n):
        if isinstance(n, str):
            n = self._scene.GetNodeByID(n) if self._scene else None
        self._choose(n if n in self._nodes else None)

    def setCurrentNodeID(self, i):
        self.setCurrentNode(i)

    currentNodeID = Property(str, lambda s: s._current.GetID() if s._current is not None else "", setCurrentNodeID)

    def nodeCount(self):
        return len(self._nodes)

    def nodeFromIndex(self, i):
        return self._nodes[i] if 0 <= i < len(self._nodes) else None

    def setCurrentNodeIndex(self, i):
        self.setCurrentNode(self.nodeFromIndex(i))
