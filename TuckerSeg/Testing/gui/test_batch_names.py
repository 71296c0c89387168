"""Names of the files that a batch writes."""

from __future__ import annotations

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
    assert len(list(output.iterdir())) == 6
