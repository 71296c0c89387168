"""The page of a cohort: its numbers, its pictures, and the page itself in a real browser."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from TuckerSegLib.cohort import pictures
from TuckerSegLib.cohort.case_record import CaseRecord, OutputStamp, write_record
from TuckerSegLib.cohort.pictures import picture_of, png_bytes
from TuckerSegLib.cohort.summary import summarize
from TuckerSegLib.records.quality_report import WARNING, BodyPart, Finding, QualityReport
from TuckerSegLib.records.statistics import RunStatistics, Structure

NASTY = "<script>alert(1)</script>"
LIVERS = [1500.0, 1480, 1530, 1490, 1510, 1470, 4000, 900]  # of c0 to c7; that of c7 is cut


def statistics(structures, partial=(), warnings=()) -> RunStatistics:
    fields = dict.fromkeys(name for name in RunStatistics.__dataclass_fields__ if name != "VERSION")
    fields |= {name: 1 for name, field in RunStatistics.__dataclass_fields__.items() if field.type == "int"}
    findings = tuple(Finding(f"code-{number}", WARNING, words) for number, words in enumerate(warnings))
    quality = QualityReport(findings, (BodyPart("abdomen", 1.0, 5, 0.0, 100.0),), tuple(partial))
    fields |= {
        "model": "small", "compression": "original", "device_name": "a processor", "volume_shape": (10, 12, 14),
        "volume_spacing_mm": (3.0, 2.0, 1.0), "seconds": {"total": 2.0, "network": 1.0}, "versions": {}, "parts": (),
        "source_sha256": "", "volume": "v", "backend": "b", "device": "d", "device_reason": "", "precision": "fp32",
        "step_fraction": 0.5, "mirroring": False, "output_grid": "native", "notes": (), "quality": quality,
        "structures": tuple(Structure(value, name, float(ml)) for value, name, ml in structures), "patches_skipped": 0,
    }  # fmt: skip
    return RunStatistics(**fields)


def record(name: str, liver_ml: float, **more) -> CaseRecord:
    made = statistics([(1, "liver", liver_ml), (2, NASTY, 3.0)], **more)
    return CaseRecord(name, "done", "key", (f"/data/{name}.nii.gz",), None, (), "", (), "", 2.5, "here:1", made)


def cohort() -> list[CaseRecord]:
    records = [record(f"c{number}", ml, partial=("liver",) if number == 7 else ()) for number, ml in enumerate(LIVERS)]
    records[2] = record("c2", LIVERS[2], warnings=("The header seems to be wrong.",))
    failed = replace(record("broken", 1), state="failed", message=f"no image {NASTY}", statistics=None)
    return [failed, *records]


@pytest.fixture
def folder(tmp_path) -> Path:
    """Records of a cohort, one of which has its image and labels."""
    out = tmp_path / "out"
    out.mkdir()
    labels = np.zeros((14, 12, 10), np.uint8)
    labels[3:9, 3:9, 3:8] = 1
    affine = np.diag([-1.0, -2.0, 3.0, 1.0])
    values = np.random.default_rng(0).normal(0, 100, labels.shape).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "c0.nii.gz")
    nibabel.save(nibabel.Nifti1Image(labels, affine), out / "c0.nii.gz")
    for each in cohort():
        if each.name == "c0":
            each = replace(each, images=(str(tmp_path / "c0.nii.gz"),), outputs=(OutputStamp("c0.nii.gz", 1, ""),))
        write_record(out, each)
    return out


def test_spreads_are_those_of_the_cases_that_have_a_structure_whole():
    summary = summarize(cohort())
    liver = next(each for each in summary.spreads if each.name == "liver")
    whole = LIVERS[:7]
    assert [liver.least_ml, liver.median_ml, liver.most_ml] == [min(whole), np.median(whole), max(whole)]
    assert {each.case for each in liver.volumes if each.outlier} == {"c6"}
    assert {each.case for each in liver.volumes if each.cut} == {"c7"}


def test_what_should_be_looked_at_says_why_failures_first():
    notable = summarize(cohort()).notable
    assert [each.case for each in notable] == ["broken", "c2", "c6"]
    assert notable[1].reasons == ("The header seems to be wrong.",)
    assert "4000 ml" in notable[2].reasons[0]


def test_of_few_cases_none_is_far_from_the_others():
    assert summarize([record("a", 1.0), record("b", 1000.0)]).notable == ()


def test_a_png_is_read_as_it_was_drawn(tmp_path):
    from matplotlib import image

    drawn = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    (tmp_path / "a.png").write_bytes(png_bytes(drawn))
    np.testing.assert_array_equal((image.imread(tmp_path / "a.png")[..., :3] * 255).round().astype(np.uint8), drawn)


def test_a_picture_shows_labels_where_they_are_heads_up(folder, tmp_path):
    """Of a block in the lower left half: it is below the middle, and its color is over the gray there alone."""
    made = replace(cohort()[1], images=(str(tmp_path / "c0.nii.gz"),), outputs=(OutputStamp("c0.nii.gz", 1, ""),))
    labels = np.zeros((14, 12, 10), np.uint8)
    labels[3:9, 3:9, :4] = 1  # the lower part: the third axis grows upwards
    affine = np.diag([-1.0, -2.0, 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(labels, affine), folder / "c0.nii.gz")
    flat = np.zeros(labels.shape, np.int16)
    flat[0, 0, 0] = 100
    nibabel.save(nibabel.Nifti1Image(flat, affine), tmp_path / "c0.nii.gz")
    picture = picture_of(folder, made)
    colored = np.ptp(picture.astype(int), axis=-1) > 10
    heights = [pictures.HEIGHT * share for share in (0, 0.6, 1)]
    assert picture.shape[0] == pictures.HEIGHT
    axial_columns = round(14 * 1.0 / (12 * 2.0) * pictures.HEIGHT)
    beside = colored[:, axial_columns:]  # coronal and sagittal
    assert not beside[: int(heights[1]) - 2].any() and beside[int(heights[1]) + 2 :].any()
    assert picture_of(folder, replace(made, images=("/no/such.nii.gz",))) is None


def test_summarize_writes_page_sheet_and_tables(run_here, folder):
    from matplotlib import image

    told = run_here("summarize", folder, "--title", "A & B")
    assert "9 cases, 8 done; 3 to look at" in told
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<title>A &amp; B</title>" in page and page.count("data:image/png") == 1
    assert image.imread(folder / "contact_sheet.png").shape[0] > 100
    with (folder / "structures.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["structure"]: row for row in csv.DictReader(file)}
    assert (rows["liver"]["cases"], rows["liver"]["outliers"], rows["liver"]["cut by the border"]) == ("8", "1", "1")
    assert (folder / "cohort.csv").is_file()
    document = json.loads(run_here("summarize", folder, "--json", "--pictures", "0"))
    assert [each["case"] for each in document["notable"]] == ["broken", "c2", "c6"]


def test_the_page_needs_nothing_else_and_takes_no_name_for_markup(run_here, folder):
    run_here("summarize", folder)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert NASTY not in page and NASTY.replace("<", "\\u003c") in page
    assert not re.findall(r"(?:src|href)=[\"'](?!#|data:)", page) and "url(" not in page and "@import" not in page
    assert re.search(r"Content-Security-Policy\" content=\"default-src 'none'", page)


def test_a_folder_without_results_is_told(run_here, tmp_path):
    run_here("summarize", tmp_path, code=1)
    run_here("summarize", tmp_path / "absent", code=1)


PROBE = """
<script>
const errors = [];
window.addEventListener("error", (event) => errors.push(event.message));
window.addEventListener("load", async () => {
  const wait = () => new Promise((go) => setTimeout(go, 200));
  const names = () => [...document.querySelectorAll("#table tbody tr")].map((each) => each.dataset.case);
  const heads = () => [...document.querySelectorAll("#table th button")];
  const type = (id, text) => {
    document.getElementById(id).value = text;
    document.getElementById(id).dispatchEvent(new Event("input"));
  };
  const answer = {};
  try {
    answer.tiles = [...document.querySelectorAll(".tile")].map((each) => each.textContent);
    answer.notes = [...document.querySelectorAll("#notable .note a")].map((each) => each.textContent);
    answer.pictures = [...document.querySelectorAll("#gallery img")].filter((each) => each.naturalWidth > 50).length;
    document.getElementById("view").click();
    answer.table = !document.getElementById("table").hidden && document.getElementById("gallery").hidden;
    heads()[2].click(); answer.up = names();
    heads()[2].click(); answer.down = names();
    type("filter", "header wrong"); answer.filtered = names();
    type("filter", ""); document.getElementById("only").click(); answer.remarked = names();
    answer.points = document.querySelectorAll(".point").length;
    answer.far = [...document.querySelectorAll(".point.far")].map((each) => each.title);
    type("find", "liver");
    answer.structures = [...document.querySelectorAll(".spread > span")].map((each) => each.textContent);
    document.querySelector('#table tbody tr[data-case="c6"]').click(); await wait();
    const dialog = document.getElementById("case");
    answer.dialog = dialog.open && dialog.textContent.includes("4000 ml");
    dialog.querySelector("form button").click(); await wait(); await wait();
    answer.closed = [dialog.open, location.hash];
    answer.scripts = document.querySelectorAll("script").length;
  } catch (error) { errors.push(String(error)); }
  answer.errors = errors;
  document.title = "ANSWER" + encodeURIComponent(JSON.stringify(answer)) + "END";
});
</script>
"""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def test_a_browser_shows_sorts_filters_and_opens_cases(run_here, folder, tmp_path):
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"needs a browser: one of {', '.join(BROWSERS)}")
    run_here("summarize", folder)
    page = (folder / "report.html").read_text(encoding="utf-8")
    probed = tmp_path / "probed.html"
    probed.write_text(page.replace("<body>", "<body>" + PROBE, 1), encoding="utf-8")
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    words = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", profile]
    words += ["--virtual-time-budget=5000", "--dump-dom", probed.as_uri()]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", timeout=120)
    match = re.search(r"ANSWER(.*?)END</title>", done.stdout, re.S)
    assert match, done.stderr[-2000:]
    from urllib.parse import unquote

    answer = json.loads(unquote(html.unescape(match.group(1))))
    assert answer["errors"] == []
    assert answer["tiles"][:4] == ["9cases", "1failed", "2with remarks", "2structures"]
    assert answer["notes"] == ["broken", "c2", "c6"]
    assert answer["pictures"] == 1 and answer["table"]
    by_volume = [f"c{number}" for number in np.argsort(LIVERS, kind="stable")]
    assert answer["up"] == [*by_volume, "broken"] and answer["down"] == [*by_volume[::-1], "broken"]
    assert answer["filtered"] == ["c2"]
    assert set(answer["remarked"]) == {"broken", "c2", "c6"}
    assert answer["points"] == 16 and len(answer["far"]) == 1 and answer["far"][0].startswith("c6: 4000 ml")
    assert answer["structures"] == ["Liver"]
    assert answer["dialog"] and answer["closed"] == [False, ""]
    assert answer["scripts"] == 2, "that of the page and that of this test"
