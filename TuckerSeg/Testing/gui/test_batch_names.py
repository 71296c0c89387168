"""Names of the files that a batch writes."""

from __future__ import annotations

from pathlib import Path

import pytest

STATE, RESULT = 1, 4


def test_equal_names_of_two_folders_in_one_folder_of_results_are_told_apart(played, play, until, tmp_path):
    ui, output = played.ui, tmp_path / "results"

    def cells(column):
        return [ui.batchTable.item(row, column).text() for row in range(ui.batchTable.rowCount)]

    def segment_all(folder):
        images = [{"path": str(tmp_path / folder / f"{name}.nii.gz"), "name": name} for name in ("ct", "mr")]
        play.script(images=images)
        ui.batchFolderEdit.text = str(tmp_path / folder)
        ui.batchButton.click()
        until(lambda: not played.batch.running, 30, lambda: ui.batchNoteLabel.text)
        return cells(STATE), cells(RESULT)

    ui.batchSourceComboBox.currentIndex = 1
    ui.batchOutputEdit.text = str(output)
    assert segment_all("A") == (["done"] * 2, ["ct.seg.nrrd", "mr.seg.nrrd"])
    ui.batchReplaceCheckBox.checked = True
    assert segment_all("B") == (["done"] * 2, ["B ct.seg.nrrd", "B mr.seg.nrrd"])
    assert segment_all("deep/B") == (["done"] * 2, ["B ct (2).seg.nrrd", "B mr (2).seg.nrrd"])
    ui.batchReplaceCheckBox.checked = False
    states, words = segment_all("B")
    assert states == ["skipped"] * 2 and words[0].startswith("B ct.seg.nrrd exists already")
    assert len(list(output.glob("*.seg.nrrd"))) == 6


def items_of(folder, output, *names):
    from TuckerSegLib.slicer_bridge.client.batch_items import file_items

    images = [{"path": str(folder / f"{name}.nii.gz"), "name": name} for name in names]
    return file_items(images, str(output), ".nii.gz", replaces=True)


def done(item):
    Path(item.output).write_bytes(b"labels")
    return item.result({})


def test_results_of_an_earlier_session_are_known_by_what_was_noted_beside_them(slicer_app, tmp_path):
    (first,) = items_of(tmp_path / "A", tmp_path, "ct")
    assert done(first) == "ct.nii.gz"
    assert tmp_path.name not in (tmp_path / "tuckerseg-batch.json").read_text(encoding="utf-8"), "no paths of patients"
    assert [Path(each.output).name for each in items_of(tmp_path / "A", tmp_path, "ct")] == ["ct.nii.gz"]
    others = items_of(tmp_path / "B", tmp_path, "CT", "mr")
    assert [Path(each.output).name for each in others] == ["B CT.nii.gz", "mr.nii.gz"], "whatever the case of letters"
    Path(first.output).unlink()
    assert [Path(each.output).name for each in items_of(tmp_path / "B", tmp_path, "ct")] == ["ct.nii.gz"]


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"ct.nii.gz": 3}', b"\xff"])
def test_a_damaged_note_is_none(slicer_app, tmp_path, content):
    (tmp_path / "ct.nii.gz").write_bytes(b"labels")
    (tmp_path / "tuckerseg-batch.json").write_bytes(content)
    (item,) = items_of(tmp_path / "A", tmp_path, "ct")
    assert done(item) == "ct.nii.gz"
    assert [Path(each.output).name for each in items_of(tmp_path / "B", tmp_path, "ct")] == ["B ct.nii.gz"]


def test_a_note_that_cannot_be_written_is_told_and_the_result_stays(slicer_app, tmp_path):
    (tmp_path / "tuckerseg-batch.json").mkdir()
    (item,) = items_of(tmp_path / "A", tmp_path, "ct")
    assert done(item).startswith("ct.nii.gz It could not be noted of which image it is: ")
    assert Path(item.output).read_bytes() == b"labels"
