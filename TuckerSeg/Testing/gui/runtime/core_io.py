"""Reading and writing nodes, as ``slicer.app.coreIOManager()`` does it for an extension that segments images."""

import pathlib

import slicer
from PySide6 import QtCore


class CoreIO(QtCore.QObject):
    """coreIOManager()/ioManager(): the file types an image segmentation extension reads and writes."""

    READ = {
        "VolumeFile": None,
        "SegmentationFile": "vtkMRMLSegmentationNode",
        "TableFile": "vtkMRMLTableNode",
        "ModelFile": "vtkMRMLModelNode",
        "TransformFile": "vtkMRMLLinearTransformNode",
        "TextFile": "vtkMRMLTextNode",
        "ColorTableFile": "vtkMRMLColorTableNode",
        "MarkupsFile": "vtkMRMLMarkupsFiducialNode",
    }

    def fileType(self, f):
        f = str(f).lower()
        for ends, t in (
            ((".seg.nrrd", ".seg.nhdr"), "SegmentationFile"),
            ((".mrb", ".mrml"), "SceneFile"),
            ((".csv", ".tsv"), "TableFile"),
            ((".stl", ".vtk", ".vtp", ".obj", ".ply"), "ModelFile"),
            ((".mrk.json",), "MarkupsFile"),
            ((".tfm", ".h5"), "TransformFile"),
            ((".ctbl",), "ColorTableFile"),
            ((".txt", ".json"), "TextFile"),
        ):
            if f.endswith(ends):
                return t
        return "VolumeFile"

    def extractKnownExtension(self, f, node=None):
        return next((e for e in (".nii.gz", ".seg.nrrd", ".mrk.json") if f.lower().endswith(e)), pathlib.Path(f).suffix)

    def fileWriterFileType(self, node):
        return node.GetClassName()

    def loadNodes(self, kind, props, collection, messages=None):
        s, f = slicer.mrmlScene, props["fileName"]
        name = props.get("name") or pathlib.Path(f).name.split(".")[0]
        if kind == "SceneFile":
            if f.endswith(".mrb"):
                return bool(s.ReadFromMRB(f, props.get("clear", False), messages))
            s.SetURL(f)
            return bool(s.Import(messages))
        if kind == "VolumeFile":
            opts = (
                int(bool(props.get("labelmap")))
                + 2 * int(bool(props.get("center")))
                + 16 * int(not props.get("autoWindowLevel", True)) * 0
                + 4 * int(bool(props.get("singleFile")))
            )
            n = slicer.app._logics["Volumes"].AddArchetypeVolume(f, name, opts)
            if n is None:
                return False
            if props.get("show", True):
                slicer.app.applicationLogic().GetSelectionNode().SetActiveVolumeID(n.GetID())
                slicer.app.applicationLogic().PropagateVolumeSelection()
        else:
            n = s.AddNewNodeByClass(self.READ[kind], name)
            n.AddDefaultStorageNode(f)
            st = n.GetStorageNode()
            st.SetFileName(f)
            if not st.ReadData(n):
                s.RemoveNode(n)
                return False
            if hasattr(n, "CreateDefaultDisplayNodes"):
                n.CreateDefaultDisplayNodes()
        collection.AddItem(n)
        return True

    def saveNodes(self, kind, props, messages=None):
        s, f = slicer.mrmlScene, props["fileName"]
        if kind == "SceneFile":
            for n in slicer.util.getNodesByClass("vtkMRMLStorableNode"):
                if n.GetSaveWithScene() and not n.GetStorageNode():
                    n.AddDefaultStorageNode()
            if f.endswith(".mrb"):
                return bool(s.WriteToMRB(f, None, messages))
            s.SetURL(f)
            return bool(s.Commit(f, messages))
        n = s.GetNodeByID(props["nodeID"])
        n.AddDefaultStorageNode(f)
        st = n.GetStorageNode()
        st.SetFileName(f)
        if "useCompression" in props:
            st.SetUseCompression(bool(props["useCompression"]))
        return bool(st.WriteData(n))

    def fileWriterExtensions(self, node):
        st = node.CreateDefaultStorageNode()
        st.UnRegister(None)
        st.SetScene(slicer.mrmlScene)
        t = st.GetSupportedWriteFileTypes()
        return [t.GetValue(i) for i in range(t.GetNumberOfValues())]

    def exportNodes(self, nodeIDs, fileNames, properties, hardenTransforms=False, messages=None):
        ok = True
        for i, f in zip(nodeIDs, fileNames):
            n = slicer.mrmlScene.GetNodeByID(i)
            st = n.CreateDefaultStorageNode()
            st.UnRegister(None)
            st.SetScene(slicer.mrmlScene)
            st.SetFileName(f)
            if "useCompression" in properties:
                st.SetUseCompression(int(properties["useCompression"]))
            ok = bool(st.WriteData(n)) and ok
        return ok
