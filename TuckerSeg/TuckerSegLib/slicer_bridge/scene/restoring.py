"""What a segmentation held before a run filled it, to be put back where that fails halfway."""

from __future__ import annotations

import slicer
import vtk

from .statistics_nodes import COST_ROLE, STRUCTURES_ROLE, remove_table, table_of


class FormerContents:
    """Segments, tables and everything else of a segmentation that filling it changes; copies no voxels.

    Args:
        segmentation_node: As it is now. What it holds is replaced later, never changed in place.
    """

    def __init__(self, segmentation_node: slicer.vtkMRMLSegmentationNode):
        node = self._node = segmentation_node
        segmentation = node.GetSegmentation()
        numbers = range(segmentation.GetNumberOfSegments())
        self._segments = [(segmentation.GetNthSegmentID(each), segmentation.GetNthSegment(each)) for each in numbers]
        self._source = segmentation.GetSourceRepresentationName()
        self._grid_name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
        self._grid = segmentation.GetConversionParameter(self._grid_name)
        self._volume_role = node.GetReferenceImageGeometryReferenceRole()
        self._volume_id = node.GetNodeReferenceID(self._volume_role)
        self._transform_id = node.GetTransformNodeID()
        self._name = node.GetName()
        self._attributes = {name: node.GetAttribute(name) for name in node.GetAttributeNames()}
        self._display = _copy(node.GetDisplayNode())
        self._item = _hierarchy().GetItemByDataNode(node)  # 0: it has no place among patients and studies
        self._parent = _hierarchy().GetItemParent(self._item) if self._item else 0
        self._tables = {}
        for role in (COST_ROLE, STRUCTURES_ROLE):
            table = table_of(node, role)
            if table is not None:
                columns = vtk.vtkTable()
                columns.ShallowCopy(table.GetTable())
                self._tables[role] = (table.GetName(), columns)

    def restore(self) -> None:
        """Put everything back."""
        node = self._node
        segmentation = node.GetSegmentation()
        modified = node.StartModify()
        try:
            segmentation.RemoveAllSegments()
            segmentation.SetSourceRepresentationName(self._source)
            for identifier, segment in self._segments:
                segmentation.AddSegment(segment, identifier)
            node.SetNodeReferenceID(self._volume_role, self._volume_id)
            segmentation.SetConversionParameter(self._grid_name, self._grid)
            node.SetAndObserveTransformNodeID(self._transform_id)
            node.SetName(self._name)
            for name in {*node.GetAttributeNames(), *self._attributes}:
                node.SetAttribute(name, self._attributes.get(name))
        finally:
            node.EndModify(modified)
        self._restore_display()
        if self._parent:
            _hierarchy().SetItemParent(self._item, self._parent)
        for role in (COST_ROLE, STRUCTURES_ROLE):
            table = table_of(node, role)
            if role in self._tables:
                name, columns = self._tables[role]
                table.GetTable().ShallowCopy(columns)
                table.SetName(name)
                table.Modified()
            elif table is not None:
                remove_table(node, role)

    def _restore_display(self) -> None:
        display = self._node.GetDisplayNode()
        if display is None:
            return
        if self._display is None:
            slicer.mrmlScene.RemoveNode(display)
        else:
            display.CopyContent(self._display)


def _copy(
    display: slicer.vtkMRMLSegmentationDisplayNode | None,
) -> slicer.vtkMRMLSegmentationDisplayNode | None:
    """Colors and visibility of segments, which go with them."""
    if display is None:
        return None
    copy = display.NewInstance()
    copy.CopyContent(display)
    return copy


def _hierarchy() -> slicer.vtkMRMLSubjectHierarchyNode:
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
