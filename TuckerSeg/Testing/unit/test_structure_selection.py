"""What a user means by the names of structures."""

from __future__ import annotations

import pytest

from TuckerSegLib.catalog.entries import task
from TuckerSegLib.catalog.selection import select
from TuckerSegLib.errors import SpecError

NAMES = [name for _, name in task("total").structures]


def chosen(*texts: str) -> list[str]:
    return select(texts, NAMES, "total")


@pytest.mark.parametrize("text", ["kidney_left", "Kidney Left", "left kidney", "LEFT-KIDNEY", " left  kidney "])
def test_case_spaces_hyphens_and_side_order_do_not_matter(text):
    assert chosen(text) == ["kidney_left"]


@pytest.mark.parametrize(
    ("text", "count", "some"),
    [
        ("ribs", 24, "rib_left_7"),
        ("left ribs", 12, "rib_left_7"),
        ("lungs", 5, "lung_middle_lobe_right"),
        ("vertebrae", 26, "vertebrae_L3"),
        ("muscles", 10, "gluteus_maximus_left"),
        ("Heart and vessels", 18, "aorta"),
        ("kidneys", 2, "kidney_right"),
        ("iliac arteries", 2, "iliac_artery_left"),
        ("vertebra T12", 1, "vertebrae_T12"),
    ],
)
def test_groups_sides_and_plurals_stand_for_their_members(text, count, some):
    labels = chosen(text)
    assert len(labels) == count
    assert some in labels


def test_a_whole_name_is_that_structure_alone():
    assert chosen("heart") == ["heart"]  # not the group it stands in
    assert "kidney_cyst_left" not in chosen("kidneys")
    every_word = {name: chosen(name) for name in NAMES}
    assert all(selected == [name] for name, selected in every_word.items())


def test_structures_come_once_and_in_the_labels_order():
    assert chosen("liver", "spleen", "LIVER", "", "kidneys") == ["spleen", "kidney_right", "kidney_left", "liver"]


@pytest.mark.parametrize(("text", "near"), [("livr", "liver"), ("gall blader", "gallbladder"), ("ribz", "rib")])
def test_an_unknown_name_is_told_with_what_comes_near(text, near):
    with pytest.raises(SpecError, match=rf"'{text}' is no structure of total.*Did you mean .*{near}"):
        chosen("liver", text)


def test_a_name_that_is_like_nothing_is_told_with_the_groups():
    with pytest.raises(SpecError, match="muscles"):
        chosen("qqq")


@pytest.mark.parametrize("texts", [(), ("",), (" ", "-")])
def test_nothing_at_all_is_refused(texts):
    with pytest.raises(SpecError, match="No structure was named"):
        chosen(*texts)


def test_labels_that_the_table_does_not_know_are_found_by_their_words():
    names = ["Tumor core", "tumor_edge", "air"]
    assert select(["tumors"], names, "mine") == names[:2]
    assert select(["core tumor"], names, "mine") == names[:1]
