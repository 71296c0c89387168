"""The benchmark's table and JSON line, from measurements that are made up."""

import json

import pytest

from TuckerSegLib.benchmark.peers import Outcome
from TuckerSegLib.benchmark.table import Row, VolumeResult, as_json, as_text, ratios

GB = 10**9


def row(name: str, *outcomes: Outcome, failure: str | None = None, **agreement: float) -> Row:
    return Row(name, f"title of {name}", outcomes, failure, agreement)


@pytest.fixture
def result() -> VolumeResult:
    peer = row(
        "totalsegmentator",
        Outcome(24, 18, 4 * GB, 4 * GB, 12),
        Outcome(20, 16, 3 * GB, 3 * GB, 10),
        Outcome(40, 30, 5 * GB, 5 * GB, 11),
    )
    ours = row(
        "tucker_cold",
        Outcome(5, 1, GB, GB, 2),
        Outcome(6, 2, GB, GB, 2),
        Outcome(100, 50, GB, GB, 3),
        totalsegmentator=0.875,
    )
    warm = row("tucker_warm", Outcome(12, 2, GB, GB))
    return VolumeResult(
        "ct.nii.gz", (30, 20, 10), (1.0, 2.0, 3.0), (peer, ours, warm, row("nnunet", failure="a traceback\n  left out"))
    )


def test_ratios_are_of_medians_and_larger_means_that_we_need_less(result):
    assert ratios(result.rows[1], result.row("totalsegmentator")) == {
        "process": 4.0,
        "predict": 9.0,
        "memory": 4.0,
        "largest": 4.0,
        "processor": 5.5,
    }
    assert ratios(result.rows[1], None) is None
    assert ratios(result.rows[3], result.row("totalsegmentator")) is None


def test_the_table_shows_median_range_ratios_agreement_and_failures(result):
    lines = as_text([result]).splitlines()
    assert lines[0] == "ct.nii.gz: 30 x 20 x 10 voxels of 1 x 2 x 3 mm (Z Y X)"
    ours = next(line for line in lines if "tucker_cold" in line)
    assert "6.00 (5.00-100.00)" in ours and "2.00 (1.00-50.00)" in ours
    assert ours.split()[-10:] == ["4.00", "9.00", "4.00", "4.00", "-", "-", "-", "-", "87.50%", "-"]
    assert lines[-1].endswith("failed: left out")


def test_the_whole_process_of_a_warm_run_is_not_compared(result):
    warm = next(line for line in as_text([result]).splitlines() if "tucker_warm" in line)
    assert "12.00" not in warm
    assert warm.split()[-10:] == ["-", "9.00", "4.00", "4.00", *"-" * 6]


def test_the_columns_stand_below_their_headings(result):
    _, groups, header, *rows = as_text([result]).splitlines()
    assert len(groups) == len(header) == len(rows[0]) == len(rows[1]) == len(rows[2])


def test_the_json_is_one_line_with_every_run_and_the_ratios(result):
    line = as_json([result], {"machine": {"cpu": "a\nb"}, "rounds": 3})
    assert "\n" not in line
    document = json.loads(line)
    assert document["benchmark"] == "tuckerseg" and document["rounds"] == 3
    everybody = document["volumes"][0]["contestants"]
    assert everybody["tucker_cold"]["process_s"] == [5, 6, 100]
    assert everybody["tucker_cold"]["median"]["wall_s"] == 6
    assert everybody["tucker_cold"]["times_less_than"] == {
        "totalsegmentator": {"process": 4.0, "predict": 9.0, "memory": 4.0, "largest": 4.0, "processor": 5.5}
    }
    assert everybody["tucker_cold"]["equal_labels"] == {"totalsegmentator": 0.875}
    assert everybody["nnunet"] == {"title": "title of nnunet", "failure": "a traceback\n  left out"}
