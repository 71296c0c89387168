"""What all widgets of the scene have: the scene, and that they hear of its changes."""

import slicer
from emulation import emulate
from PySide6 import QtWidgets
from PySide6.QtCore import Signal


class SceneWidget:
    def mrmlScene(self):
        return self.__dict__.get("_scene")

    def setMRMLScene(self, scene):
        if scene is self.__dict__.get("_scene"):
            return
        self._stop_listening()
        self._scene = scene
        if scene is not None:
            S = slicer.vtkMRMLScene
            self._tags = [
                (scene, scene.AddObserver(e, lambda *a: self._sceneEvent()))
                for e in (
                    S.NodeAddedEvent,
                    S.NodeRemovedEvent,
                    S.EndCloseEvent,
                    S.EndImportEvent,
                    S.EndBatchProcessEvent,
                )
            ]
        self._sceneEvent()
        if hasattr(type(self), "mrmlSceneChanged"):
            self.mrmlSceneChanged.emit(scene)

    def _stop_listening(self):
        for o, t in self.__dict__.pop("_tags", []):
            o.RemoveObserver(t)

    def _sceneEvent(self):
        pass


@emulate
class qMRMLWidget(SceneWidget, QtWidgets.QWidget):
    mrmlSceneChanged = Signal(object)
    _signals = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}

    def __init__(self, parent=None):
        QtWidgets.QWidget.__init__(self, parent)


@emulate
class qSlicerWidget(qMRMLWidget):
    pass
