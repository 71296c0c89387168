"""Strengths and policies are compared on the volume of the scene: table, plot, label maps, cancelling."""

from __future__ import annotations


def test_comparing_ranks_fills_table_and_plot_and_shows_a_row(ready, until):
    import slicer

    ready.ui.compareRanksEdit.text = "0.8, 0.4"
    ready.ui.compareButton.click()
    assert ready.ui.compareButton.text == "Cancel"
    until(lambda: not ready.comparing.running, shown=lambda: ready.ui.compareNoteLabel.text)
    table = ready.ui.compareTable
    assert [table.item(row, 0).text() for row in range(table.rowCount)] == ["original", "0.80", "0.40"]
    rows = ready.comparing.comparison.rows
    assert rows[0].agreement is None
    assert 0 <= rows[2].agreement <= 1
    nodes = ready.comparing.comparison.nodes
    assert nodes.table.GetNumberOfColumns() == 7
    assert nodes.chart.GetNumberOfPlotSeriesNodes() == 2
    table.cellClicked.emit(2, 0)
    assert "strength 0.40" in nodes.segmentation.GetName()
    assert nodes.segmentation.GetSegmentation().GetNumberOfSegments() > 0
    assert nodes.differences.GetSegmentation().GetNumberOfSegments() == 1
    ready.ui.compareClearButton.click()
    for kind in ("Segmentation", "SegmentationDisplay", "PlotChart", "Table"):
        assert slicer.util.getNodesByClass(f"vtkMRML{kind}Node") == [], kind


def test_the_result_of_a_run_is_out_of_sight_while_a_rank_is_looked_at(ready, until):
    ready.ui.applyButton.click()
    until(lambda: not ready.running.running)
    result = ready.context.parameters.outputSegmentation
    ready.ui.compareRanksEdit.text = "0.4"
    ready.ui.compareButton.click()
    until(lambda: not ready.comparing.running)
    assert result.GetDisplayVisibility()
    ready.ui.compareTable.cellClicked.emit(1, 0)
    assert not result.GetDisplayVisibility()
    ready.ui.compareClearButton.click()
    assert result.GetDisplayVisibility()


def test_differences_mark_exactly_the_voxels_that_differ(ready, until):
    import numpy as np
    import slicer

    ready.ui.compareRanksEdit.text = "0.4"
    ready.ui.compareButton.click()
    until(lambda: not ready.comparing.running)
    volume_node, nodes = ready.context.parameters.inputVolume, ready.comparing.comparison.nodes

    def labels():
        drawn = np.zeros((40, 44, 48), np.uint8)
        segmentation = nodes.segmentation.GetSegmentation()
        for number in range(segmentation.GetNumberOfSegments()):
            identity = segmentation.GetNthSegmentID(number)
            mask = slicer.util.arrayFromSegmentBinaryLabelmap(nodes.segmentation, identity, volume_node)
            drawn[mask > 0] = segmentation.GetNthSegment(number).GetLabelValue()
        return drawn

    ready.comparing.comparison.show(0, differences=False)
    original = labels()
    ready.comparing.comparison.show(1, differences=True)
    identity = nodes.differences.GetSegmentation().GetNthSegmentID(0)
    marked = slicer.util.arrayFromSegmentBinaryLabelmap(nodes.differences, identity, volume_node) > 0
    np.testing.assert_array_equal(marked, labels() != original)


def test_a_comparison_can_be_cancelled(ready, until, slow_model, make_ct):
    ready.context.change(inputVolume=make_ct((96, 96, 96)), model=slow_model)
    ready.ui.compareButton.click()
    until(lambda: "Running the network" in ready.ui.statusLabel.text)
    ready.ui.compareButton.click()
    until(lambda: not ready.comparing.running)
    assert "Cancelled" in ready.ui.compareNoteLabel.text


def compared(panel):
    table = panel.ui.compareTable
    return [table.item(row, 0).text() for row in range(table.rowCount)]


def check_policies(panel, *names):
    import qt

    entries = panel.ui.comparePoliciesList
    for row in range(entries.count):
        item = entries.item(row)
        item.setCheckState(qt.Qt.Checked if item.data(qt.Qt.UserRole) in names else qt.Qt.Unchecked)


def test_policies_are_compared_as_explore_compares_them_and_a_cancelled_comparison_goes_on(ready, until, monkeypatch):
    import qt

    from TuckerSegLib.compression.policies import policies

    ui, worker = ready.ui, ready.session.worker
    entries = ui.comparePoliciesList
    until(lambda: entries.count > 1)
    *offered, refused = [entries.item(row) for row in range(1, entries.count)]
    assert {item.text() for item in offered} == {*policies(), "auto+refit"}
    assert "+repair: not offered" in refused.text() and refused.flags() == qt.Qt.NoItemFlags
    requests = []
    ask = worker.request

    def spy(kind, *arguments, **fields):
        requests.append((kind, fields))
        return ask(kind, *arguments, **fields)

    monkeypatch.setattr(worker, "request", spy)
    ui.compareRanksEdit.text = "0.5"
    check_policies(ready, "paper", "energy")
    ui.compareButton.click()
    until(lambda: len(compared(ready)) >= 2, shown=lambda: ui.compareNoteLabel.text)
    ui.compareButton.click()
    until(lambda: not ready.comparing.running)
    kept = list(ready.comparing.comparison.rows)
    if len(kept) == 2:  # else it was faster than the cancel
        assert "Cancelled" in ui.compareNoteLabel.text and ui.compareButton.text == "Resume"
    check_policies(ready, "paper", "energy", "auto+refit")
    assert ui.compareButton.text == "Resume"
    ui.compareButton.click()
    until(lambda: not ready.comparing.running, shown=lambda: ui.compareNoteLabel.text)
    assert sorted(compared(ready)) == ["auto+refit 0.50", "energy 0.50", "original", "paper 0.50"]
    rows = ready.comparing.comparison.rows
    assert rows[: len(kept)] == kept
    asked = [fields for kind, fields in requests if kind == "compare"]
    assert asked[0]["original"] is None and asked[1]["original"] is not None
    assert {(each["policy"], each["strength"]) for each in asked[1]["variants"]}.isdisjoint(
        {(row.policy, row.strength) for row in kept}
    )
    words = {row.policy: row.statistics.compression for row in rows}
    assert "energy" in words["energy"] and "energy" not in words["paper"]
    assert "refit" in words["auto+refit"] and "refit" not in words["energy"]
    ui.compareButton.click()
    assert "in the table" in ui.compareNoteLabel.text
    assert len([1 for kind, _ in requests if kind == "compare"]) == 2


def test_rows_of_another_volume_are_not_mixed_with_those_that_are_there(ready, until, make_ct):
    ready.ui.compareRanksEdit.text = "0.5"
    ready.ui.compareButton.click()
    until(lambda: not ready.comparing.running)
    ready.context.change(inputVolume=make_ct(seed=5, name="other"))
    assert ready.ui.compareButton.text == "Compare"
    ready.ui.compareButton.click()
    assert compared(ready) == []
    until(lambda: not ready.comparing.running)
    assert compared(ready) == ["original", "0.50"]
    assert {row.statistics.volume for row in ready.comparing.comparison.rows} == {"other"}
