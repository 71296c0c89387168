"""What is said of a first use before it begins."""

from __future__ import annotations

import pytest

from TuckerSegLib.estimation.first_use import first_use_words, in_words, with_first_use_note
from TuckerSegLib.records.estimate import Estimate, PartEstimate


def estimate_of(first_s, seconds=30.0, original_s=76.0, networks=5, device="openvino:cpu") -> Estimate:
    part = PartEstimate("part", 8, 10**6, 10**12, seconds)
    return Estimate(
        original_parameters=networks * 2 * 10**6,
        parameters=networks * 10**6,
        original_macs_per_patch=10**12,
        macs_per_patch=10**11,
        patches=8,
        original_macs_per_volume=10**13,
        macs_per_volume=10**12,
        original_seconds=original_s,
        seconds=seconds,
        peak_memory_bytes=10**9,
        free_memory_bytes=None,
        agreement=None,
        agreement_source="not measured",
        device=device,
        precision="bf16",
        notes=("another note",),
        parts=(part,) * networks,
        first_use_seconds=first_s,
    )


def test_all_three_times_are_told():
    words = first_use_words(estimate_of(240.0))
    for told in ("5 networks are", "about 4 min", "every later one, takes about 30 s", "takes about 75 s", "sooner"):
        assert told in words


def test_the_original_is_not_said_to_be_sooner_where_it_is_not():
    words = first_use_words(estimate_of(20.0, seconds=5.0, original_s=200.0, networks=1))
    assert "the network is" in words
    assert "about 20 s" in words
    assert "about 3 min" in words
    assert "sooner" not in words


def test_what_was_not_measured_is_told_roughly_of_a_processor_and_not_of_other_devices():
    assert "roughly" in first_use_words(estimate_of(240.0, seconds=None, original_s=None))
    words = first_use_words(estimate_of(240.0, seconds=None, original_s=None, device="torch:cuda"))
    assert "later" not in words
    assert "original" not in words


def test_a_first_use_of_unknown_length_is_told_without_a_number():
    words = first_use_words(estimate_of(None))
    assert "not known" in words
    assert "calibrated" not in words
    assert "sooner" not in words


@pytest.mark.parametrize("first_s", [0.0, 3.0])
def test_next_to_nothing_is_not_told(first_s):
    estimate = estimate_of(first_s)
    assert first_use_words(estimate) is None
    assert with_first_use_note(estimate) is estimate


def test_the_note_stands_before_the_others():
    told = with_first_use_note(estimate_of(240.0))
    assert told.notes[0].startswith("First use")
    assert told.notes[1:] == ("another note",)


def test_durations_are_no_more_precise_than_predictions():
    assert [in_words(seconds) for seconds in (0.2, 12.4, 58.0, 97.0, 150.0, 340.0)] == [
        "5 s",
        "10 s",
        "60 s",
        "95 s",
        "2 min",
        "6 min",
    ]
