"""A result that does not fit, has gone or cannot be shown: the scene is as before, and the next run works."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from Testing.gui.moments import belongings, check_next_run, check_unchanged, run

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes in /proc")


def damaged(play, tmp_path, how):
    """A file of labels, or a place of it, that do not fit; gives fields of the script."""
    path = tmp_path / "damaged.npy"
    if how == "cut off":
        path.write_bytes((tmp_path / "played.npy").read_bytes()[:300])
        return {"labels": str(path)}
    if how in ("before its beginning", "behind its end"):
        first = -1 if how == "before its beginning" else 1
        return {"lower": [first] * 3, "upper": [first + 8] * 3}
    if how == "without a place":
        return {"lower": [4, 4]}
    arrays = {
        "larger": np.ones((9, 8, 8), np.uint8),
        "flat": np.ones((8, 8), np.uint8),
        "of fractions": np.full((8, 8, 8), 0.5),
        "of complex numbers": np.ones((8, 8, 8), np.complex64),
        "empty": np.ones((0, 8, 8), np.uint8),
    }
    np.save(path, arrays[how])
    return {"labels": str(path)}


ARRAYS = ("larger", "flat", "of fractions", "of complex numbers", "empty", "cut off")
WAYS = (*ARRAYS, "before its beginning", "behind its end", "without a place")


@pytest.mark.parametrize("how", WAYS)
def test_a_result_that_does_not_fit_the_volume(played, play, until, tmp_path, how):
    before = belongings(played)
    play.script(**damaged(play, tmp_path, how))
    run(played, until)
    assert ("BoxFile.lower" if how == "without a place" else "labels of the worker") in played.ui.statusLabel.text
    check_unchanged(before, played, until)
    check_next_run(played, play, until)


def test_labels_that_have_gone_before_they_are_taken_back(played, play, until):
    before = belongings(played)
    play.script("lost")
    run(played, until)
    assert "labels" in played.ui.statusLabel.text
    check_unchanged(before, played, until)
    check_next_run(played, play, until)


def no_memory(*arguments, **options):
    raise MemoryError("no memory is left")


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("TuckerSegLib.slicer_bridge.scene.segmentations", "_label_image"),
        ("TuckerSegLib.slicer_bridge.client.segmentation_run", "remember_contents"),
        ("TuckerSegLib.slicer_bridge.scene.statistics_nodes", "structure_columns"),  # the other table is there by then
    ],
)
def test_a_result_that_cannot_be_shown_leaves_no_new_segmentation(played, play, until, monkeypatch, place, name):
    before = belongings(played)
    with monkeypatch.context() as patch:
        patch.setattr(f"{place}.{name}", no_memory)
        run(played, until)
    assert "no memory is left" in played.ui.statusLabel.text
    check_unchanged(before, played, until)
    check_next_run(played, play, until)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("TuckerSegLib.slicer_bridge.scene.segmentations", "_label_image"),
        ("TuckerSegLib.slicer_bridge.client.segmentation_run", "remember_contents"),
        ("TuckerSegLib.slicer_bridge.scene.statistics_nodes", "structure_columns"),
    ],
)
def test_a_result_that_cannot_be_shown_leaves_the_segmentation_that_it_was_meant_for(
    played, play, until, tmp_path, monkeypatch, place, name
):
    from TuckerSegLib.slicer_bridge.scene.contents import contents_of
    from TuckerSegLib.slicer_bridge.scene.statistics_nodes import COST_ROLE, table_of

    run(played, until)
    node = played.context.parameters.outputSegmentation
    identifier = node.GetSegmentation().GetNthSegmentID(0)
    node.GetDisplayNode().SetSegmentOpacity3D(identifier, 0.25)
    before, held, cells = belongings(played), contents_of(node), table_of(node, COST_ROLE).GetTable()
    rows, first = cells.GetNumberOfRows(), cells.GetValue(0, 1).ToString()
    labels = np.load(tmp_path / "played.npy")
    np.save(tmp_path / "others.npy", np.flip(labels, 0) if (np.flip(labels, 0) != labels).any() else 1 - labels)
    play.script(labels=str(tmp_path / "others.npy"))
    with monkeypatch.context() as patch:
        patch.setattr(f"{place}.{name}", no_memory)
        run(played, until)
    assert "no memory is left" in played.ui.statusLabel.text
    check_unchanged(before, played, until)
    assert contents_of(node) == held
    assert node.GetDisplayNode().GetSegmentOpacity3D(identifier) == 0.25
    assert (cells.GetNumberOfRows(), cells.GetValue(0, 1).ToString()) == (rows, first)
    play.script()
    check_next_run(played, play, until)
