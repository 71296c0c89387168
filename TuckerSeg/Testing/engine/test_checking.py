"""``tuckerseg check``, and what ``segment`` says of its input and its result; a flipped header end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from TuckerSegLib import InferenceSpec, image_from_array, load_model, prepare, read_image, segment
from TuckerSegLib.image import Geometry, Image
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.records.quality_report import QualityReport
from TuckerSegLib.records.serialization import from_json, to_json
from TuckerSegLib.records.statistics import RunStatistics, as_table, structure_table

LIBRARY_FOLDER = Path(__file__).resolve().parents[2]
ROOT = LIBRARY_FOLDER.parent
VOLUME = ROOT / "TuckerSeg" / "Resources" / "Data" / "synthetic_torso.nii.gz"
LABELS = VOLUME.with_name("synthetic_torso_labels.nii.gz")
FAST = InferenceSpec(precision="fp32", device="torch:cpu", threads=1)


def check(*arguments, expect=0):
    """Run the command where torch cannot be imported: it needs none."""
    code = "import sys; sys.modules['torch'] = None; from TuckerSegLib.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "check", *map(str, arguments)]
    done = subprocess.run(command, cwd=LIBRARY_FOLDER, capture_output=True, encoding="utf-8")
    assert done.returncode == expect, done.stdout + done.stderr
    return done


def flipped_file(source: Path, target: Path, axis: int) -> Path:
    """The same voxels under a header that exchanges two directions."""
    image = nibabel.load(source)
    flip = np.diag([-1.0 if axis == other else 1.0 for other in range(3)] + [1.0])
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), flip @ image.affine), target)
    return target


def test_an_image_and_its_labels_are_checked_together(tmp_path):
    done = check(VOLUME, "--labels", LABELS, "--labels-names", "total")
    assert "Info         The structures lie as the header says" in done.stdout
    assert "[padding]" in done.stdout and "nothing to warn of" in done.stdout
    assert "Body parts   neck" in done.stdout


def test_a_flipped_label_file_is_a_warning_and_not_a_failure(tmp_path):
    path = flipped_file(LABELS, tmp_path / "labels.nii.gz", 0)
    report = from_json(QualityReport, json.loads(check("--labels", path, "--labels-names", "total", "--json").stdout))
    (warning,) = report.warnings
    assert "left and right are exchanged" in warning
    assert report.findings[0].numbers["left-right"] < -0.9


def test_labels_without_names_are_said_not_to_be_checked():
    assert "not checked" in check("--labels", LABELS).stdout


def test_labels_on_another_grid_than_the_image_are_told(tmp_path):
    path = flipped_file(LABELS, tmp_path / "labels.nii.gz", 2)
    text = check(VOLUME, "--labels", path, "--labels-names", "total").stdout
    assert "not on the grid of the image" in text and "head and feet are exchanged" in text


def test_what_cannot_be_read_and_nothing_at_all_are_errors(tmp_path):
    (tmp_path / "ct.nii.gz").write_bytes(b"no image")
    assert "ct.nii.gz" in check(tmp_path / "ct.nii.gz", expect=1).stderr
    assert "--labels" in check(expect=1).stderr
    assert "fly" in check(VOLUME, "--labels", LABELS, "--labels-names", "fly", expect=1).stderr


def test_what_the_reader_notices_is_part_of_the_report(tmp_path):
    array = np.random.default_rng(0).integers(-1000, 2900, (40, 40, 40)).astype(np.int16)
    image = nibabel.Nifti1Image(array, None)
    nibabel.save(image, tmp_path / "ct.nii.gz")
    text = check(tmp_path / "ct.nii.gz").stdout
    assert "left and right may be swapped. [image-file]" in text
    assert "[field-of-view]" in text


@pytest.fixture
def ct():
    random = np.random.default_rng(0)
    return image_from_array(random.integers(-1000, 2900, (40, 40, 40)).astype(np.int16), spacing_mm=(3, 3, 3))


def test_a_run_s_statistics_hold_the_report_and_its_warnings_first(make_model_folder, ct):
    model = load_model(make_model_folder())
    gray = image_from_array(np.clip(ct.array[0], 0, 255).astype(np.int16), spacing_mm=(3, 3, 3))
    monitor = Monitor()
    monitor.notes.append("a note")
    statistics = segment(gray, model, FAST, monitor).statistics
    assert "8-bit gray values" in statistics.quality.warnings[0]
    assert statistics.notes[: len(statistics.quality.warnings)] == statistics.quality.warnings
    assert "a note" in statistics.notes
    assert "not-checked" in [finding.code for finding in statistics.quality.findings]
    assert from_json(RunStatistics, json.loads(json.dumps(to_json(statistics)))) == statistics
    table = as_table(statistics)
    assert f"Warning      {statistics.quality.warnings[0]}" in table and "Note         a note" in table


def test_a_model_of_another_modality_is_not_asked_for_hounsfield_units(make_model_folder, ct):
    model = load_model(make_model_folder(normalization="ZScoreNormalization"))
    gray = image_from_array(np.clip(ct.array[0], 0, 255).astype(np.int16), spacing_mm=(3, 3, 3))
    assert "intensities" not in [finding.code for finding in segment(gray, model, FAST).statistics.quality.findings]


def test_structures_that_the_border_cuts_are_marked(make_model_folder, ct):
    names = {"background": 0, "liver": 1, "spleen": 2, "tumor": 3}
    statistics = segment(ct, load_model(make_model_folder(labels=names)), FAST).statistics
    assert set(statistics.quality.partial) == {each.name for each in statistics.structures} - {"tumor"}
    lines = structure_table(statistics).splitlines()
    assert all(line.endswith("(cut by the border)") != ("tumor" in line) for line in lines)


def test_records_of_earlier_versions_have_no_report(make_model_folder, ct):
    document = to_json(segment(ct, load_model(make_model_folder()), FAST).statistics)
    del document["quality"]
    assert from_json(RunStatistics, document).quality is None


def test_the_demonstration_network_on_a_real_ct_with_flipped_headers(shared_data, own_cache):
    image = read_image(shared_data / "data" / "example_ct.nii.gz")
    with_settings = InferenceSpec(step_fraction=1.0)
    ready = prepare(load_model("demo"), with_settings)
    try:
        reports = {}
        for axis, name in ((-1, "none"), (1, "front and back"), (2, "head and feet")):
            flip = np.diag([-1.0 if axis == other else 1.0 for other in range(3)] + [1.0])
            geometry = Geometry(image.geometry.shape, flip @ image.geometry.matrix)
            reports[name] = segment(Image(image.array, geometry, "ct"), ready, with_settings).statistics.quality
    finally:
        ready.close()
    codes = {name: [finding.code for finding in report.findings] for name, report in reports.items()}
    assert not {"layout", "front-back", "spacing"} & set(codes["none"])
    assert not any("are exchanged" in words for words in reports["none"].warnings)
    # Left and right are not tried: the network names organs by their side, a liver on the left a spleen.
    assert any("head and feet are exchanged" in words for words in reports["head and feet"].warnings)
    assert {"front-back", "layout"} <= set(codes["front and back"])
