"""The benchmark's volumes, its rounds with contestants that are made up, and what it prints last."""

import json
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from TuckerSegLib.benchmark import bench, totalsegmentator
from TuckerSegLib.benchmark.peers import BenchmarkCase, Contestant, Outcome, contestants
from TuckerSegLib.benchmark.volumes import agreement, resample_volume
from TuckerSegLib.errors import ImageError, SpecError, TuckerSegError


def save(path, array, affine=None):
    nibabel.save(nibabel.Nifti1Image(array, np.diag([3.0, 3.0, 3.0, 1.0]) if affine is None else affine), path)
    return path


@pytest.fixture
def volume(tmp_path):
    return save(tmp_path / "ct.nii.gz", np.arange(4 * 5 * 6, dtype=np.int32).reshape(4, 5, 6))


def test_the_larger_volume_covers_the_same_extent_with_smaller_voxels(volume, tmp_path):
    assert resample_volume(volume, tmp_path / "larger.nii.gz", (1.0, 1.5, 0.75)) == (18, 10, 16)
    old, new = nibabel.load(volume), nibabel.load(tmp_path / "larger.nii.gz")
    assert new.get_data_dtype() == np.int16 and new.header.get_zooms() == (0.75, 1.5, 1.0)
    for corner in (-0.5, 1.0):  # outer edges: half a voxel outside the first and the last center
        first = old.affine @ [*(corner if corner < 0 else n - 0.5 for n in old.shape), 1]
        second = new.affine @ [*(corner if corner < 0 else n - 0.5 for n in new.shape), 1]
        assert first == pytest.approx(second)
    assert np.asarray(new.dataobj)[8, 5, 9] == pytest.approx(np.asarray(old.dataobj)[2, 2, 3], abs=20)


def test_repeats_are_stacked_along_z_and_mirrored(volume, tmp_path):
    assert resample_volume(volume, tmp_path / "tall.nii.gz", (3.0, 3.0, 3.0), repeats=2) == (12, 5, 4)
    tall = np.asarray(nibabel.load(tmp_path / "tall.nii.gz").dataobj)
    assert np.array_equal(tall[:, :, 6:], tall[:, :, 5::-1])
    assert np.array_equal(tall[:, :, :6], np.asarray(nibabel.load(volume).dataobj))


def test_agreement_is_the_share_of_equal_voxels_and_needs_one_grid(tmp_path):
    labels = np.zeros((2, 2, 2), dtype=np.uint8)
    first = save(tmp_path / "first.nii.gz", labels)
    labels[0, 0, 0] = 7
    assert agreement(first, save(tmp_path / "second.nii.gz", labels)) == 7 / 8
    with pytest.raises(ImageError, match="same grid"):
        agreement(first, save(tmp_path / "third.nii.gz", labels, np.diag([2.0, 3.0, 3.0, 1.0])))


def writer(name, labels, wall_s=1.0, log=None):
    def run(case: BenchmarkCase) -> Outcome:
        if log is not None:
            log.append(name)
        save(case.labels(name), labels)
        return Outcome(wall_s, wall_s / 2, 10**9, 10**9)

    return run


def fail(case):
    raise TuckerSegError("no such luck")


def test_rounds_are_interleaved_and_a_wrong_answer_and_a_failure_are_visible(volume, tmp_path, monkeypatch, capsys):
    log, right = [], np.ones((4, 5, 6), dtype=np.uint8)
    everybody = [
        Contestant("once", "ours, first use", writer("once", right, log=log), once=True),
        Contestant("totalsegmentator", "Total", writer("totalsegmentator", right, 8.0, log)),
        Contestant("nnunet", "nnU-Net", fail),
        Contestant("wrong", "ours, wrong", writer("wrong", right * 2, 2.0, log)),
    ]
    monkeypatch.setattr(bench, "contestants", lambda *_: everybody)
    monkeypatch.setattr(bench, "prepare_home", lambda home, task: None)
    python = sys.executable
    document = bench.run_benchmark(volume, tmp_path / "out", python, 2, bench.BenchmarkSpec(spacing_mm=(3, 3, 3)))
    first_volume = ["once", "totalsegmentator", "wrong", "totalsegmentator", "wrong"]
    assert log[:5] == first_volume and "once" not in log[5:]
    printed = capsys.readouterr().out.splitlines()
    assert json.loads(printed[-1]) == document == json.loads((tmp_path / "out" / "benchmark.json").read_text())
    first = document["volumes"][0]["contestants"]
    assert first["wrong"]["equal_labels"] == {"totalsegmentator": 0.0}
    assert first["once"]["equal_labels"] == {"totalsegmentator": 1.0}
    assert first["wrong"]["times_less_than"]["totalsegmentator"]["process"] == 4
    assert first["nnunet"]["failure"] == "no such luck"
    assert any("no such luck" in line for line in printed)


def test_totalsegmentator_is_left_out_when_it_is_not_there_and_looked_for_where_named(monkeypatch, tmp_path):
    monkeypatch.delenv(bench.PYTHON_VARIABLE, raising=False)
    monkeypatch.setattr(bench.importlib.util, "find_spec", lambda name: None)
    assert bench.find_totalsegmentator(None) is None
    monkeypatch.setenv(bench.PYTHON_VARIABLE, sys.executable)
    assert str(bench.find_totalsegmentator(None)) == sys.executable
    with pytest.raises(SpecError, match="does not exist"):
        bench.find_totalsegmentator(tmp_path / "python")
    assert [one.name for one in contestants(0.25, None) if one.name == "totalsegmentator"] == []


def test_of_five_networks_nobody_is_warm_and_nnunet_runs_inside_totalsegmentator():
    names = [one.name for one in contestants(0.25, Path(sys.executable), "total")]
    assert names == ["original_first_use", "tucker_first_use", "totalsegmentator", "original_cold", "tucker_cold"]
    assert {"nnunet", "tucker_warm"} < {one.name for one in contestants(0.25, Path(sys.executable))}


def test_the_case_of_a_task_has_the_folders_of_its_networks(tmp_path):
    folders = BenchmarkCase(tmp_path / "ct.nii.gz", tmp_path, tmp_path, "total").models
    assert [folder.parent.name[:10] for folder in folders] == [f"Dataset29{number}" for number in range(1, 6)]


def test_totalsegmentator_has_a_home_of_its_own_sends_nothing_and_meets_none_of_our_packages(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", "ours")
    totalsegmentator.write_settings(tmp_path / "home")
    settings = json.loads((tmp_path / "home" / "config.json").read_text())
    assert settings["send_usage_stats"] is False
    environment = totalsegmentator.environment(tmp_path / "home")
    assert environment["TOTALSEG_HOME_DIR"] == str(tmp_path / "home") and "PYTHONPATH" not in environment


def test_settings_out_of_range_are_errors(volume, tmp_path):
    with pytest.raises(SpecError, match="rounds"):
        bench.run_benchmark(volume, tmp_path, runs=0)
    with pytest.raises(SpecError, match="rank"):
        bench.BenchmarkSpec(rank_ratio=1.0)
    with pytest.raises(SpecError, match="total_fast"):
        bench.BenchmarkSpec("total_mr")
    with pytest.raises(SpecError, match="spacing"):
        resample_volume(volume, tmp_path / "larger.nii.gz", (1.0, 0.0, 1.0))
    with pytest.raises(ImageError, match="nothing.nii"):
        bench.run_benchmark(tmp_path / "nothing.nii", tmp_path)
