"""``tuckerseg reconstruct`` as a researcher meets it."""

from __future__ import annotations

import csv

import nibabel
import numpy as np
import pytest

from TuckerSegLib import Cache, load_model
from TuckerSegLib.cli.main import main
from TuckerSegLib.models.calibration import stored_calibration
from TuckerSegLib.models.compress import compress


@pytest.fixture
def ct(hand_over, tmp_path):
    volume = hand_over()
    path = tmp_path / "ct.nii.gz"
    nibabel.save(nibabel.Nifti1Image(volume.voxels.transpose(2, 1, 0), np.asarray(volume.file.affine)), path)
    return path


@pytest.fixture
def model(make_model_folder):
    return make_model_folder(patch_shape=(16, 16, 16))


def reconstruct(*options) -> int:
    return main(["reconstruct", *map(str, options)])


def rows_of(folder) -> list[dict[str, str]]:
    with (folder / "reconstruction.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_calibrated_grid_is_a_table_a_csv_and_heat_maps(ct, model, tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    assert reconstruct("--model", model, "--ct", ct, "--multiple", 4, "--out", out) == 0
    rows = rows_of(out)
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    assert len(layers) == 8
    grid = [row for row in rows if row["layer"] == "encoder.stages.2.0.convs.0.conv"]
    assert len(grid) == 8 * 4  # ranks 4 to 32 of the outputs, 4 to 16 of the inputs
    for row in rows:
        assert float(row["whitened_error_calibrated"]) <= float(row["whitened_error_weights"])
        assert float(row["energy"]) == pytest.approx(1 - float(row["relative_error"]) ** 2, abs=1e-5)
        assert (row["cheaper"] == "True") == (int(row["macs"]) < int(row["dense_macs"]))
    assert (out / "reconstruction.png").read_bytes().startswith(b"\x89PNG")
    text = capsys.readouterr().out
    lines = {line.split()[0]: line for line in text.splitlines()}
    pair = min(
        (row for row in grid if row["cheaper"] == "True" and float(row["energy"]) >= 0.9),
        key=lambda row: int(row["macs"]),
    )
    assert f"{pair['output_rank']} x {pair['input_rank']} " in lines["encoder.stages.2.0.convs.0.conv"]
    assert "->" in lines["encoder.stages.2.0.convs.0.conv"]
    assert stored_calibration(load_model(model), Cache()) is None, "measuring does not change what runs use"


def test_without_a_calibration_the_weights_alone_are_measured_and_that_is_said(model, tmp_path, capsys):
    assert reconstruct("--model", model, "--layer", "*transp*", "--out", tmp_path / "out") == 0
    assert "not calibrated" in capsys.readouterr().err
    rows = rows_of(tmp_path / "out")
    assert {row["layer"] for row in rows} == {"decoder.transpconvs.0", "decoder.transpconvs.1"}
    assert {row["whitened_error_weights"] for row in rows} == {""}


def test_a_stored_calibration_is_used(ct, model, tmp_path):
    assert main(["calibrate", str(ct), "--model", str(model)]) == 0
    assert reconstruct("--model", model, "--layer", "*transp*", "--out", tmp_path / "out") == 0
    assert all(row["whitened_error_weights"] for row in rows_of(tmp_path / "out"))


def test_what_cannot_be_measured_is_said_before_the_work(ct, model, tmp_path, capsys):
    out = tmp_path / "out"
    assert reconstruct("--model", model, "--ct", ct, "--layer", "middle*", "--out", out) == 1
    message = capsys.readouterr().err
    assert "middle*" in message
    assert "decoder.transpconvs.0" in message
    assert not out.exists()

    (tmp_path / "file").write_text("")
    assert reconstruct("--model", model, "--out", tmp_path / "file" / "folder") == 1
    assert "cannot be made" in capsys.readouterr().err

    (out / "reconstruction.csv").mkdir(parents=True)
    assert reconstruct("--model", model, "--out", out) == 1
    assert "reconstruction.csv cannot be written" in capsys.readouterr().err


def test_a_compressed_model_is_refused(model, tmp_path, capsys):
    from TuckerSegLib.compression.tucker.method import Spec

    small = tmp_path / "small.tuckerseg"
    compress(load_model(model), Spec(0.5)).save(small)
    assert reconstruct("--model", small, "--out", tmp_path / "out") == 1
    assert "compressed already" in capsys.readouterr().err
