"""Slicer's DICOM database and its exporter of DICOM SEG, as far as an extension that exports notices.

The exporter refuses what the extension QuantitativeReporting refuses: a volume without instance UIDs, images that are
not in the database, segments without terminology, an algorithm's segment without the algorithm's name.
"""

import pathlib
import shutil

import slicer
import vtk


class Database:
    """``slicer.dicomDatabase``: files by their instance UIDs, and copies of what was inserted."""

    def __init__(self, folder):
        self._folder, self.files, self.inserted = pathlib.Path(folder), {}, []

    def fileForInstance(self, uid):
        return self.files.get(uid, "")

    def insert(self, path):
        self.inserted.append(shutil.copy(path, self._folder))


class Exportable:
    """``slicer.qSlicerDICOMExportable``."""

    def __init__(self, item):
        self.subjectHierarchyItemID, self.directory = item, ""


class Exporter:
    """``DICOMSegmentationPluginClass``, that writes what it would encode as lines of text."""

    failure = ""

    def examineForExport(self, item):
        node = _hierarchy().GetItemDataNode(item) if item else None
        return [Exportable(item)] if node is not None and node.IsA("vtkMRMLSegmentationNode") else []

    def export(self, exportables):
        for exportable in exportables:
            node = _hierarchy().GetItemDataNode(exportable.subjectHierarchyItemID)
            try:
                lines = [*_images(node), *_segments(node)]
            except ValueError as error:
                return str(error)
            path = pathlib.Path(exportable.directory, "export.SEG.dcm")
            path.write_text("\n".join(lines), encoding="utf-8")
            slicer.dicomDatabase.insert(str(path))
        return self.failure


def install(folder):
    """Put them into the application; gives the database."""
    slicer.dicomDatabase = Database(folder)
    slicer.modules.dicomPlugins = {"DICOMSegmentationPlugin": Exporter}
    return slicer.dicomDatabase


def remove():
    """Take them out again."""
    del slicer.dicomDatabase
    if hasattr(slicer.modules, "dicomPlugins"):
        del slicer.modules.dicomPlugins


def _hierarchy():
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)


def _images(node):
    volume = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
    uids = (volume.GetAttribute("DICOM.instanceUIDs") or "").split() if volume is not None else []
    if not uids or not all(map(slicer.dicomDatabase.fileForInstance, uids)):
        raise ValueError("the volume's images are not in the database")
    return uids


def _segments(node):
    segmentation, logic = node.GetSegmentation(), slicer.modules.terminologies.logic()
    for number in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(number)
        entry = slicer.vtkSlicerTerminologyEntry()
        if not logic.DeserializeTerminologyEntry(_tag(segment, segment.GetTerminologyEntryTagName()), entry):
            raise ValueError(f"{segment.GetName()} has no terminology")
        kind, name = (
            _tag(segment, "DICOM.SegmentAlgorithmType") or "MANUAL",
            _tag(segment, "DICOM.SegmentAlgorithmName"),
        )
        if kind != "MANUAL" and not name:
            raise ValueError(f"{segment.GetName()} has no name of its algorithm")
        parts = entry.GetCategoryObject(), entry.GetTypeObject()
        codes = [f"{part.GetCodingSchemeDesignator()} {part.GetCodeValue()}" for part in parts]
        yield " | ".join((segment.GetName(), kind, name, *codes))


def _tag(segment, name):
    value = vtk.mutable("")
    return str(value) if segment.GetTag(name, value) else ""
