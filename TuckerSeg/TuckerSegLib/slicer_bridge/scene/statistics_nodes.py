"""The statistics of a run in the scene: table nodes for people, and a record on the segmentation for programs."""

from __future__ import annotations

import json

import slicer
import vtk

from ...catalog import structures
from ...errors import TuckerSegError
from ...records.serialization import from_json, to_json
from ...records.statistics import RunStatistics, cost_rows, part_rows, run_rows
from ...text_files import parse_json

RECORD_ATTRIBUTE = "TuckerSeg.Statistics"
COST_ROLE = "TuckerSeg.CostTable"
STRUCTURES_ROLE = "TuckerSeg.StructureTable"
TABLE_ATTRIBUTE = "TuckerSeg.TableOf"  # of tables: their role


def attach_statistics(segmentation_node: slicer.vtkMRMLSegmentationNode, statistics: RunStatistics) -> None:
    """Write the record onto a segmentation, and fill its two tables (made on first use)."""
    segmentation_node.SetAttribute(RECORD_ATTRIBUTE, json.dumps(to_json(statistics)))
    name = segmentation_node.GetName()
    fill_table(_table(segmentation_node, COST_ROLE, f"{name} cost"), cost_columns(statistics))
    fill_table(_table(segmentation_node, STRUCTURES_ROLE, f"{name} structures"), structure_columns(statistics))


def statistics_of(segmentation_node: slicer.vtkMRMLSegmentationNode | None) -> RunStatistics | None:
    """The record that :func:`attach_statistics` left; None where there is none, or none that this program can read."""
    text = segmentation_node.GetAttribute(RECORD_ATTRIBUTE) if segmentation_node is not None else None
    try:
        return from_json(RunStatistics, parse_json(text)) if text else None
    except (ValueError, TuckerSegError):  # the scene may come from anywhere
        return None


def table_of(segmentation_node: slicer.vtkMRMLSegmentationNode | None, role: str) -> slicer.vtkMRMLTableNode | None:
    """One of a segmentation's tables."""
    return segmentation_node.GetNodeReference(role) if segmentation_node is not None else None


def cost_columns(statistics: RunStatistics) -> dict[str, list]:
    """Before and after, then the facts of the run, then each of several networks."""
    facts = [(title, "", value, "") for title, value in run_rows(statistics)]
    rows = [*cost_rows(statistics), *facts, *part_rows(statistics)]
    titles = ("measure", "original", "this run", "ratio")
    return {title: [row[column] for row in rows] for column, title in enumerate(titles)}


def structure_columns(statistics: RunStatistics) -> dict[str, list]:
    """The structures that were found, with their volumes in ml."""
    measured = statistics.structures
    partial = statistics.quality.partial if statistics.quality is not None else ()
    whole = {"cut by the border": [("cut" if each.name in partial else "") for each in measured]} if partial else {}
    return {
        "structure": [structures.title_of(each.name) for each in measured],
        "volume (ml)": [round(each.volume_ml, 2) for each in measured],
        "label": [each.value for each in measured],
        "name in the model": [each.name for each in measured],
        **whole,
    }


def remove_tables(segmentation_node: slicer.vtkMRMLSegmentationNode) -> None:
    """Remove the tables of a segmentation that goes; a copy of it keeps those that both share."""
    for role in (COST_ROLE, STRUCTURES_ROLE):
        remove_table(segmentation_node, role)


def remove_table(segmentation_node: slicer.vtkMRMLSegmentationNode, role: str) -> None:
    """Remove one of its tables, if it has that and no copy of the segmentation shares it."""
    table = table_of(segmentation_node, role)
    if table is not None and not _is_shared(table, role, segmentation_node):
        slicer.mrmlScene.RemoveNode(table)


def remove_lost_tables() -> None:
    """Remove the tables of segmentations that went while nobody looked, as before the panel was opened."""
    segmentations = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    for table in slicer.util.getNodesByClass("vtkMRMLTableNode"):
        role = table.GetAttribute(TABLE_ATTRIBUTE)
        if role and not any(table_of(node, role) is table for node in segmentations):
            slicer.mrmlScene.RemoveNode(table)


def _table(segmentation_node: slicer.vtkMRMLSegmentationNode, role: str, name: str) -> slicer.vtkMRMLTableNode:
    table = table_of(segmentation_node, role)
    if table is None or _is_shared(table, role, segmentation_node):
        table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
        table.SetAttribute(TABLE_ATTRIBUTE, role)
        segmentation_node.SetNodeReferenceID(role, table.GetID())
    table.SetName(name)  # the segmentation may have got another name since
    return table


def _is_shared(table: slicer.vtkMRMLTableNode, role: str, segmentation_node: slicer.vtkMRMLSegmentationNode) -> bool:
    """Whether another segmentation has the same table, as a copy has."""
    others = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return any(other is not segmentation_node and table_of(other, role) is table for other in others)


def fill_table(table: slicer.vtkMRMLTableNode, columns: dict[str, list]) -> None:
    """Replace what a table node holds; columns of numbers become numbers, all others text."""
    modified = table.StartModify()
    try:
        table.RemoveAllColumns()
        for title, values in columns.items():
            numeric = bool(values) and all(isinstance(value, (int, float)) for value in values)
            column = vtk.vtkDoubleArray() if numeric else vtk.vtkStringArray()
            column.SetName(title)
            for value in values:
                column.InsertNextValue(value if numeric else str(value))
            table.AddColumn(column)
        table.SetUseColumnTitleAsColumnHeader(True)
        table.SetLocked(True)
    finally:
        table.EndModify(modified)
