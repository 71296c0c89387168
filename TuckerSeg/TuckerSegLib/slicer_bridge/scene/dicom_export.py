"""A segmentation as DICOM SEG, by Slicer's own exporter, into Slicer's DICOM database."""

from __future__ import annotations

from typing import Any

import slicer

from ...errors import OutputError
from ..client.workspace import make_workspace, remove_workspace
from .losses import volume_of

PLUGIN = "DICOMSegmentationPlugin"  # of the extension QuantitativeReporting
INSTANCES_ATTRIBUTE = "DICOM.instanceUIDs"  # of volumes that Slicer's DICOM module has loaded


def export_problem(segmentation_node: slicer.vtkMRMLSegmentationNode) -> str:
    """Why a segmentation cannot be exported, and what to do, in words; empty where it can, as far as is known."""
    volume_node = volume_of(segmentation_node)
    if volume_node is None:
        return f"{segmentation_node.GetName()} belongs to no volume of the scene, so its series is not known."
    instances = (volume_node.GetAttribute(INSTANCES_ATTRIBUTE) or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    if not instances or database is None or not all(map(database.fileForInstance, instances)):
        return (
            f"{volume_node.GetName()} was not loaded from Slicer's DICOM database, and a DICOM SEG refers to images "
            "there. Import the DICOM files with the module DICOM, load the volume from there, and segment it."
        )
    if _plugin() is None:
        return "Slicer's exporter of DICOM SEG is not installed: get the extension QuantitativeReporting."
    return ""


def export_to_database(segmentation_node: slicer.vtkMRMLSegmentationNode) -> None:
    """Write a DICOM SEG, which Slicer's exporter adds to the DICOM database. The application waits for it.

    Raises:
        OutputError: It cannot be exported, or the exporter failed.
    """
    problem = export_problem(segmentation_node)
    if problem:
        raise OutputError(problem)
    try:
        failure = _export(segmentation_node)
    except OutputError:
        raise
    except Exception as error:  # of another extension: anything may come
        words = f"{type(error).__name__}: {error}"
        raise OutputError(f"Slicer's exporter of DICOM SEG failed: {words}") from error
    if failure:
        raise OutputError(f"Slicer's exporter of DICOM SEG failed: {failure}")


def _export(segmentation_node: slicer.vtkMRMLSegmentationNode) -> str:
    """Let the exporter do it; what it says went wrong, else nothing."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    exporter = _plugin()()
    exportables = exporter.examineForExport(hierarchy.GetItemByDataNode(segmentation_node))
    if not exportables:
        raise OutputError(f"Slicer's exporter of DICOM SEG does not take {segmentation_node.GetName()}.")
    folder = make_workspace()  # the database keeps a copy of its own
    try:
        for exportable in exportables:
            exportable.directory = str(folder)
        return exporter.export(exportables)
    finally:
        remove_workspace(folder)


def _plugin() -> Any:
    """The exporter's class; None where the extension is not installed."""
    return getattr(slicer.modules, "dicomPlugins", {}).get(PLUGIN)
