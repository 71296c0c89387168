"""What a comparison leaves in the scene: a table, a plot, one segmentation, one overlay of differences."""

from __future__ import annotations

import slicer

from ...records.comparison import ComparisonRow
from .removal import remove_with_display
from .segmentations import FoundLabel, LabelBox, show_labels
from .statistics_nodes import fill_table

DIFFERENCE = "differs from the original"
DIFFERENCE_COLOR = (1.0, 0.1, 0.1)


class ComparisonNodes:
    """The nodes of one comparison; made when first needed."""

    def __init__(self, volume_node: slicer.vtkMRMLScalarVolumeNode):
        self._volume_node = volume_node
        self._name = f"{volume_node.GetName()} strengths"
        self.table: slicer.vtkMRMLTableNode | None = None
        self.chart: slicer.vtkMRMLPlotChartNode | None = None
        self.segmentation: slicer.vtkMRMLSegmentationNode | None = None
        self.differences: slicer.vtkMRMLSegmentationNode | None = None
        self._series: list[slicer.vtkMRMLPlotSeriesNode] = []

    def fill(self, rows: list[ComparisonRow]) -> None:
        """Bring table and plot up to date."""
        if not _alive(self.table):
            self.table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", self._name)
        fill_table(self.table, columns(rows))
        if not _alive(self.chart):
            self._make_chart()

    def show_plot(self) -> None:
        """Bring the plot into the application's layout."""
        if _alive(self.chart) and slicer.app.layoutManager() is not None:
            slicer.modules.plots.logic().ShowChartInLayout(self.chart)

    def show_segmentation(
        self, title: str, box: LabelBox | None, labels: list[FoundLabel], standard_names: bool
    ) -> None:
        """Show one strength's labels in place of those shown before."""
        if not _alive(self.segmentation):
            self.segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
            self.segmentation.CreateDefaultDisplayNodes()
        self.segmentation.SetName(f"{self._name}: {title}")
        if box is None:
            self.segmentation.GetSegmentation().RemoveAllSegments()
        else:
            show_labels(self.segmentation, self._volume_node, box, labels, standard_names)

    def show_differences(self, box: LabelBox | None) -> None:
        """Mark where a strength differs from the original; None takes the marks away."""
        if box is None:
            if _alive(self.differences):
                remove_with_display(self.differences)
            self.differences = None
            return
        if not _alive(self.differences):
            self.differences = slicer.mrmlScene.AddNewNodeByClass(
                "vtkMRMLSegmentationNode", f"{self._name}: differences"
            )
            self.differences.CreateDefaultDisplayNodes()
        show_labels(self.differences, self._volume_node, box, [FoundLabel(1, DIFFERENCE)])
        self.differences.GetSegmentation().GetNthSegment(0).SetColor(*DIFFERENCE_COLOR)

    def remove(self) -> None:
        """Take all of them out of the scene."""
        for node in (self.chart, *self._series, self.table, self.segmentation, self.differences):
            if _alive(node):
                remove_with_display(node)
        self.table = self.chart = self.segmentation = self.differences = None
        self._series = []

    def _make_chart(self) -> None:
        chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", self._name)
        chart.SetTitle("What a compression costs and saves")
        chart.SetXAxisTitle("FLOPs, share of the original")
        chart.SetYAxisTitle("share")
        for title, color in (("agreement", (0.1, 0.5, 0.2)), ("time", (0.8, 0.4, 0.1))):
            series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", TITLES[title])
            series.SetAndObserveTableNodeID(self.table.GetID())
            series.SetXColumnName("FLOPs share")
            series.SetYColumnName(f"{title} share" if title == "time" else title)
            series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
            series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle)
            series.SetColor(*color)
            chart.AddAndObservePlotSeriesNodeID(series.GetID())
            self._series.append(series)
        self.chart = chart


TITLES = {"agreement": "agreement (mean Dice)", "time": "time, share of the original"}


def columns(rows: list[ComparisonRow]) -> dict[str, list]:
    """The comparison as columns; the first row is the original network."""
    agreements = [1.0 if row.strength >= 1 else row.agreement for row in rows]
    runs, seconds = [row.statistics for row in rows], [row.seconds for row in rows]
    policies = {"policy": [row.policy or "" for row in rows]} if any(row.policy for row in rows) else {}
    return {
        **policies,
        "strength": [row.strength for row in rows],
        "agreement": [float("nan") if each is None else round(each, 4) for each in agreements],
        "GFLOPs": [round(run.macs_per_volume * 2e-9, 2) for run in runs],
        "FLOPs share": [round(run.macs_per_volume / runs[0].macs_per_volume, 4) for run in runs],
        "seconds": [round(each, 2) for each in seconds],
        "time share": [round(each / seconds[0], 4) for each in seconds],
        "M parameters": [round(run.parameters / 1e6, 3) for run in runs],
    }


def _alive(node: slicer.vtkMRMLNode | None) -> bool:
    return node is not None and node.GetScene() is not None
